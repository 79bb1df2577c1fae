// Images in memory: padded so that the solver's loops need no test at the borders.

#pragma once

#include "lanes.h"

namespace kineflow {
namespace KF_ISA {

inline int rounded_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

// Aligned memory that only grows. Not std::vector: an instantiation of a standard template compiled for this
// instruction set could be the one that the linker keeps for code which runs on lesser machines.
struct Memory {
    float* data = nullptr;
    size_t capacity = 0;

    Memory() = default;
    Memory(const Memory&) = delete;
    ~Memory() { free(data); }

    // At least `count` floats; false when there is no memory.
    bool reserve(size_t count) {
        if (count <= capacity) return true;
        free(data);
        data = static_cast<float*>(aligned_alloc(64, (4 * count + 63) / 64 * 64));
        capacity = data ? count : 0;
        return data != nullptr;
    }
};

// One channel. There is a row of zeros above, at least BLOCK columns on either side, and a width rounded up to BLOCKs.
struct Plane {
    int width = 0, height = 0;
    ptrdiff_t stride = 0;
    Memory memory;

    // All zero afterwards.
    bool shape(int w, int h) {
        width = w, height = h;
        stride = rounded_up(w, BLOCK) + 2 * BLOCK;
        const size_t count = size_t(stride) * (h + 1) + BLOCK;
        if (!memory.reserve(count)) return false;
        memset(memory.data, 0, 4 * count);
        return true;
    }

    float* row(int y) const { return memory.data + (y + 1) * stride + BLOCK; }
};

// Gray level, its two derivatives and a spare, four floats a pixel, so that four neighbouring samples are 64 bytes.
struct Quads {
    static constexpr int MARGIN = 4;  // a cubic around a point up to 3 pixels outside
    int width = 0, height = 0;
    ptrdiff_t stride = 0;  // in pixels
    Memory memory;

    bool shape(int w, int h) {
        width = w, height = h;
        stride = w + 2 * MARGIN;
        return memory.reserve(4 * size_t(stride) * (h + 2 * MARGIN));
    }

    // Four floats of pixel (0, y).
    float* row(int y) const { return memory.data + 4 * ((y + MARGIN) * stride + MARGIN); }
};

// Where along one axis a bilinear resize looks, with OpenCV's pixel centres: at (x + 0.5) * step - 0.5, clamped.
struct Place {
    int index;       // of the sample before
    float fraction;  // of the way to the next one
};

inline Place resize_place(int x, double step, int size) {
    const double position = (x + 0.5) * step - 0.5;
    const double floor = __builtin_floor(position);
    if (floor < 0) return {0, 0};
    if (floor >= size - 1) return {size - 1, 0};
    return {int(floor), float(position - floor)};
}

// Bilinear resize, times `factor`. `scratch` holds from.width + 1 floats and to.width places.
inline void resize(const Plane& from, const Plane& to, double step_x, double step_y, float factor, float* scratch) {
    Place* places = reinterpret_cast<Place*>(scratch + from.width + 1);
    for (int x = 0; x < to.width; x++) places[x] = resize_place(x, step_x, from.width);
    for (int y = 0; y < to.height; y++) {
        const Place place = resize_place(y, step_y, from.height);
        const float* above = from.row(place.index);
        const float* below = from.row(place.index + (place.index < from.height - 1));
        for (int x = 0; x < from.width; x++) scratch[x] = above[x] + (below[x] - above[x]) * place.fraction;
        scratch[from.width] = scratch[from.width - 1];
        float* out = to.row(y);
        for (int x = 0; x < to.width; x++) {
            const float left = scratch[places[x].index], right = scratch[places[x].index + 1];
            out[x] = (left + (right - left) * places[x].fraction) * factor;
        }
    }
}

// Quads of an image: derivatives are half the difference of the neighbours, and of the pixel and its one neighbour at
// a border. Outside is either zero or the nearest pixel.
inline void fill_quads(const Plane& image, const Quads& quads, bool outside_is_zero) {
    const int w = image.width, h = image.height, margin = Quads::MARGIN;
    for (int y = 0; y < h; y++) {
        const float* here = image.row(y);
        const float* above = image.row(y > 0 ? y - 1 : 0);
        const float* below = image.row(y < h - 1 ? y + 1 : h - 1);
        float* quad = quads.row(y);
        for (int x = 0; x < w; x++) {
            const float right = here[x < w - 1 ? x + 1 : w - 1], left = here[x > 0 ? x - 1 : 0];
            quad[4 * x] = here[x];
            quad[4 * x + 1] = 0.5f * (right - left);
            quad[4 * x + 2] = 0.5f * (below[x] - above[x]);
            quad[4 * x + 3] = 0;
        }
        for (int x = 1; x <= margin; x++) {
            for (int c = 0; c < 4; c++) {
                quad[-4 * x + c] = outside_is_zero ? 0 : quad[c];
                quad[4 * (w - 1 + x) + c] = outside_is_zero ? 0 : quad[4 * (w - 1) + c];
            }
        }
    }
    const size_t row_bytes = 16 * size_t(quads.stride);
    for (int y = 1; y <= margin; y++) {
        float* top = quads.row(-y) - 4 * margin;
        float* bottom = quads.row(h - 1 + y) - 4 * margin;
        if (outside_is_zero) {
            memset(top, 0, row_bytes);
            memset(bottom, 0, row_bytes);
        } else {
            memcpy(top, quads.row(0) - 4 * margin, row_bytes);
            memcpy(bottom, quads.row(h - 1) - 4 * margin, row_bytes);
        }
    }
}

}  // namespace KF_ISA
}  // namespace kineflow
