// The data term of one warp: second frame and gradient, sampled where the flow points, by cubic convolution.

#pragma once

#include "planes.h"

namespace kineflow {
namespace KF_ISA {

// How OpenCV's two implementations differ.
struct Convention {
    float cubic;           // parameter of the cubic: -0.75 (remap), -0.5 (CUDA)
    bool outside_is_zero;  // otherwise the nearest pixel
};

typedef float Taps __attribute__((vector_size(64)));  // four neighbouring quads
typedef float LooseTaps __attribute__((vector_size(64), aligned(4), may_alias));
typedef float Both __attribute__((vector_size(32)));  // four of x, then four of y
typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));

// Rows of a warp, one after the other, with what they share.
class Warp {
  public:
    void take(int width, const Convention& convention, Arena& arena) {
        const Cubic cubic = cubic_convolution(convention.cubic);
        for (int i = 0; i < 8; i++) {
            c3_[i] = cubic.c3[i % 4], c2_[i] = cubic.c2[i % 4], c1_[i] = cubic.c1[i % 4], c0_[i] = cubic.c0[i % 4];
        }
        const size_t padded = rounded_up(width, BLOCK);
        places_ = arena.take(3 * padded), samples_ = arena.take(4 * padded);
        if (samples_) memset(samples_, 0, 16 * padded);  // behind the last column nothing is ever sampled
    }

    // The data term of row y of `first` against `second` moved by (u1, u2), into rows of gx, gy, rest and inverse.
    void row(int y, const Plane& first, const Quads& second, const Plane& u1, const Plane& u2, float* gx, float* gy,
             float* rest, float* inverse) {
        place(y, second, u1.row(y), u2.row(y));
        sample(second);
        const float* sampled = samples_;
        const Lanes floor = splat(GRADIENT_FLOOR);
        for (int x = 0; x < first.width; x += LANES) {
            Lanes gray, dx, dy;
            for (int i = 0; i < LANES; i++) {
                const float* quad = sampled + 4 * (x + i);
                gray.v[i] = quad[0], dx.v[i] = quad[1], dy.v[i] = quad[2];
            }
            const Lanes before = load(first.row(y) + x), here1 = load(u1.row(y) + x), here2 = load(u2.row(y) + x);
            const auto term = data_term(gray, dx, dy, before, here1, here2, floor);
            store(gx + x, term.gx), store(gy + x, term.gy), store(rest + x, term.rest);
            store(inverse + x, term.inverse_square);
        }
    }

  private:
    typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
    typedef int32_t LooseInts __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

    // Whole part and fraction of here + shift. A point 3 pixels outside or further has all its samples in the margin,
    // wherever it is, and is put there.
    static KF_PIXEL Ints split(Lanes here, Lanes shift, int size, Lanes& fraction) {
        const Lanes position = smaller(larger(here + shift, splat(-3)), splat(float(size + 1)));
        Ints whole = __builtin_convertvector(position.v, Ints);  // towards zero
        whole += __builtin_convertvector(whole, Lanes::Vector) > position.v;  // a true comparison is -1
        fraction = {position.v - __builtin_convertvector(whole, Lanes::Vector)};
        return whole;
    }

    // Of each pixel of row y: the offset of its first sample, up and left of where the flow points, and the fractions.
    void place(int y, const Quads& second, const float* u1, const float* u2) {
        const int width = second.width, padded = rounded_up(width, BLOCK);
        int32_t* corner = reinterpret_cast<int32_t*>(places_);
        float *fraction_x = places_ + padded, *fraction_y = fraction_x + padded;
        Lanes column;
        for (int i = 0; i < LANES; i++) column.v[i] = float(i);
        for (int x = 0; x < width; x += LANES) {
            Lanes fx, fy;
            const Ints left = split(column + splat(float(x)), load(u1 + x), width, fx);
            const Ints top = split(splat(float(y)), load(u2 + x), second.height, fy);
            *reinterpret_cast<LooseInts*>(corner + x) = (top - 1) * int32_t(second.stride) + (left - 1);
            store(fraction_x + x, fx), store(fraction_y + x, fy);
        }
    }

    // The 16 samples around each place, weighted: gray level and gradient in one go, a row of four pixels a register.
    void sample(const Quads& second) {
        const int width = second.width, padded = rounded_up(width, BLOCK);
        const int32_t* corner = reinterpret_cast<const int32_t*>(places_);
        const float *fraction_x = places_ + padded, *fraction_y = fraction_x + padded;
        const float* origin = second.row(0);
        const ptrdiff_t stride = 4 * second.stride;
        const Both c3 = c3_, c2 = c2_, c1 = c1_, c0 = c0_;
        for (int x = 0; x < width; x++) {
            const float fx = fraction_x[x], fy = fraction_y[x];
            const Both t = {fx, fx, fx, fx, fy, fy, fy, fy};
            const Both weights = ((c3 * t + c2) * t + c1) * t + c0;
            const float* samples = origin + 4 * ptrdiff_t(corner[x]);
            Taps sum{};
            for (int j = 0; j < 4; j++) sum += *reinterpret_cast<const LooseTaps*>(samples + j * stride) * weights[4 + j];
            Quad column[4];
            memcpy(column, &sum, sizeof sum);
            *reinterpret_cast<Quad*>(samples_ + 4 * x) =
                (column[0] * weights[0] + column[1] * weights[1]) + (column[2] * weights[2] + column[3] * weights[3]);
        }
    }

    Both c3_{}, c2_{}, c1_{}, c0_{};
    float *places_ = nullptr, *samples_ = nullptr;
};

}  // namespace KF_ISA
}  // namespace kineflow
