// Images in memory: padded so that the solver's loops need no test at the borders.

#pragma once

#include "lanes.h"

namespace kineflow {
namespace KF_ISA {

template <class Whole>
constexpr Whole rounded_up(Whole n, Whole multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

// The memory of a solver: one block, in pages of 2 MiB where the system has them. A level of full size lies in a
// thousand small pages, more than a processor keeps at hand.
//
// All that needs memory takes its part twice: first the parts are only counted, then, after `allocate`, they are there.
// Not std::vector: an instantiation of a standard template compiled for this instruction set could be the one that the
// linker keeps for code which runs on lesser machines.
class Arena {
  public:
    Arena() = default;
    Arena(const Arena&) = delete;
    ~Arena() { free(data_); }

    // Aligned; null while parts are counted.
    float* take(size_t count) {
        char* part = data_ ? data_ + taken_ : nullptr;
        taken_ += rounded_up(4 * count, CACHE_LINE);
        return reinterpret_cast<float*>(part);
    }

    // Room for what was counted; false when there is no memory.
    bool allocate() {
        const size_t alignment = taken_ < LARGE_PAGE ? CACHE_LINE : LARGE_PAGE, size = rounded_up(taken_, alignment);
        data_ = static_cast<char*>(aligned_alloc(alignment, size));
        taken_ = 0;
#if defined(MADV_HUGEPAGE)
        if (data_ && alignment == LARGE_PAGE) madvise(data_, size, MADV_HUGEPAGE);  // a wish
#endif
        return data_ != nullptr;
    }

  private:
    static constexpr size_t CACHE_LINE = 64, LARGE_PAGE = size_t(2) << 20;

    char* data_ = nullptr;
    size_t taken_ = 0;
};

// One channel. There is a row above, at least BLOCK columns on either side, and a width rounded up to BLOCKs.
struct Plane {
    int width = 0, height = 0;
    ptrdiff_t stride = 0;
    float* data = nullptr;

    // Memory for this size and any smaller one, all zero.
    void take(int w, int h, Arena& arena) {
        shape(w, h);
        data = arena.take(count());
        if (data) clear();
    }

    // What is in it afterwards is any finite numbers.
    void shape(int w, int h) {
        width = w, height = h;
        stride = rounded_up(w, BLOCK) + 2 * BLOCK;
    }

    void clear() { memset(data, 0, 4 * count()); }

    float* row(int y) const { return data + (y + 1) * stride + BLOCK; }

  private:
    size_t count() const { return size_t(stride) * (height + 1) + BLOCK; }
};

// Gray level, its two derivatives and a spare, four floats a pixel, so that four neighbouring samples are 64 bytes.
struct Quads {
    static constexpr int MARGIN = 4;  // a cubic around a point up to 3 pixels outside
    int width = 0, height = 0;
    ptrdiff_t stride = 0;  // in pixels
    float* data = nullptr;

    // Memory for this size and any smaller one.
    void take(int w, int h, Arena& arena) {
        shape(w, h);
        data = arena.take(4 * size_t(stride) * (h + 2 * MARGIN));
    }

    void shape(int w, int h) {
        width = w, height = h;
        stride = w + 2 * MARGIN;
    }

    // Four floats of pixel (0, y).
    float* row(int y) const { return data + 4 * ((y + MARGIN) * stride + MARGIN); }
};

inline void swap(Plane& a, Plane& b) {
    const Plane kept = a;
    a = b, b = kept;
}

// What `resize` takes of `scratch` for a result of this width, in floats.
constexpr size_t resize_scratch(int width) { return 5 * size_t(rounded_up(width, BLOCK)); }

// Bilinear resize, times `factor`: across and then down.
inline void resize(const Plane& from, const Plane& to, double step_x, double step_y, float factor, float* scratch) {
    const int padded = rounded_up(to.width, BLOCK);
    float* across[2] = {scratch, scratch + padded};  // row y of `from`, resized, is in number y % 2
    float* fraction = scratch + 2 * padded;
    int32_t *first = reinterpret_cast<int32_t*>(scratch + 3 * padded), *second = first + padded;
    for (int x = 0; x < padded; x++) {
        const Between place = between(x, step_x, from.width);
        first[x] = place.first, second[x] = place.second, fraction[x] = place.fraction;
    }
    int next = 0;  // row of `from`
    for (int y = 0; y < to.height; y++) {
        const Between place = between(y, step_y, from.height);
        for (next = next < place.first ? place.first : next; next <= place.second; next++) {
            const float* row = from.row(next);
            for (int x = 0; x < padded; x += LANES) {
                Lanes left, right;
                for (int i = 0; i < LANES; i++) left.v[i] = row[first[x + i]], right.v[i] = row[second[x + i]];
                store(across[next % 2] + x, mixed(left, right, load(fraction + x)));
            }
        }
        const float *upper = across[place.first % 2], *lower = across[place.second % 2];
        float* out = to.row(y);
        for (int x = 0; x < padded; x += LANES) {
            store(out + x, factor * mixed(load(upper + x), load(lower + x), splat(place.fraction)));
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
