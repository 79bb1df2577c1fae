// The resize of the CPU engine as a library.

#include <sys/mman.h>

#include <cstddef>
#include <initializer_list>

// Fused on any processor.
template <class Vector>
Vector fused(Vector a, Vector b, Vector c) {
    for (size_t i = 0; i < sizeof(Vector) / sizeof(float); i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}

#define KF_ISA checked
#define KF_FUSED fused
#include "planes.h"

using namespace kineflow::checked;

extern "C" void resized(const float* image, int width, int height, float* out, int to_width, int to_height,
                        double step_x, double step_y) {
    Arena arena;
    Plane from, to;
    float* scratch = nullptr;
    for (bool there : {false, true}) {
        if (there && !arena.allocate()) return;
        from.take(width, height, arena);
        to.take(to_width, to_height, arena);
        scratch = arena.take(resize_scratch(to_width));
    }
    for (int y = 0; y < height; y++) memcpy(from.row(y), image + y * width, 4 * size_t(width));
    resize(from, to, step_x, step_y, 1, scratch);
    for (int y = 0; y < to_height; y++) memcpy(out + y * to_width, to.row(y), 4 * size_t(to_width));
}
