// The solver for every processor: SSE2 on x86-64, NEON on aarch64, or what the compiler makes of four floats.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>

#if defined(__aarch64__)
#include <arm_neon.h>
#define KF_FUSED(a, b, c) vfmaq_f32(c, a, b)
#endif

#define KF_ISA baseline
#define KF_LANES 4
#include "solver.h"

namespace kineflow {
int solve_pairs_baseline(const uint8_t* frames, int width, int height, int first, int last,
                         const kineflow_params* params, float* flow, int64_t* iterations) {
    return baseline::solve_pairs(frames, width, height, first, last, params, flow, iterations);
}
}  // namespace kineflow
