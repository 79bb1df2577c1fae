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

typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));

class Warp {
  public:
    Warp() = default;
    Warp(const Convention& convention, float tau) : cubic_(cubic_convolution(convention.cubic)), tau_(tau) {}

    // The data term of row y of `first` against `second` moved by (u1, u2), into rows of gx, gy, rest and inverse.
    void row(int y, const Plane& first, const Quads& second, const Plane& u1, const Plane& u2, float* gx, float* gy,
             float* rest, float* inverse) const {
        const Lanes floor = splat(GRADIENT_FLOOR);
        // The places of one block are made before the samples of the one before it: a processor looks no further ahead,
        // and would wait for them.
        Places places[2];
        place(0, y, second, u1.row(y), u2.row(y), places[0]);
        for (int block = 0, turn = 0; block < first.width; block += BLOCK, turn = 1 - turn) {
            const int next = block + BLOCK;
            if (next < first.width) place(next, y, second, u1.row(y) + next, u2.row(y) + next, places[1 - turn]);
            float samples[4 * BLOCK];
            sample(second, places[turn], samples);
            for (int i = 0; i < BLOCK; i += LANES) {
                Lanes gray, dx, dy;
                for (int k = 0; k < LANES; k++) {
                    const float* quad = samples + 4 * (i + k);
                    gray.v[k] = quad[0], dx.v[k] = quad[1], dy.v[k] = quad[2];
                }
                const int x = block + i;
                const Lanes before = load(first.row(y) + x), here1 = load(u1.row(y) + x), here2 = load(u2.row(y) + x);
                const auto term = data_term(gray, dx, dy, before, here1, here2, splat(-tau_), floor);
                store(gx + x, term.gx), store(gy + x, term.gy), store(rest + x, term.rest);
                store(inverse + x, term.inverse);
            }
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

    // Where the flow points from BLOCK pixels: the offset of the first sample, up and left, and the weights of all.
    struct Places {
        int32_t corner[BLOCK];
        float across[4][BLOCK], down[4][BLOCK];
    };

    // Of the pixels from (x, y), whose flow is u1, u2.
    void place(int x, int y, const Quads& second, const float* u1, const float* u2, Places& places) const {
        for (int i = 0; i < BLOCK; i += LANES) {
            Lanes column;
            for (int k = 0; k < LANES; k++) column.v[k] = float(x + i + k);
            Lanes fraction_x, fraction_y, across[4], down[4];
            const Ints left = split(column, load(u1 + i), second.width, fraction_x);
            const Ints top = split(splat(float(y)), load(u2 + i), second.height, fraction_y);
            *reinterpret_cast<LooseInts*>(places.corner + i) = (top - 1) * int32_t(second.stride) + (left - 1);
            cubic_weights(cubic_, fraction_x, across);
            cubic_weights(cubic_, fraction_y, down);
            for (int k = 0; k < 4; k++) store(places.across[k] + i, across[k]), store(places.down[k] + i, down[k]);
        }
    }

    // The 16 samples around each place, weighted: gray level and gradient in one go, a row of four pixels a register.
    static void sample(const Quads& second, const Places& places, float* samples) {
        const float* origin = second.row(0);
        const ptrdiff_t stride = 4 * second.stride;
        for (int x = 0; x < BLOCK; x++) {
            const float* corner = origin + 4 * ptrdiff_t(places.corner[x]);
            Lanes sum[BLOCK / LANES] = {};
            for (int j = 0; j < 4; j++) {
                const Lanes down = splat(places.down[j][x]);
                for (int i = 0; i < BLOCK / LANES; i++) {
                    sum[i] = multiply_add(load(corner + j * stride + i * LANES), down, sum[i]);
                }
            }
            Quad column[4];
            memcpy(column, sum, sizeof sum);
            for (int i = 0; i < 4; i++) column[i] *= places.across[i][x];
            *reinterpret_cast<Quad*>(samples + 4 * x) = (column[0] + column[1]) + (column[2] + column[3]);
        }
    }

    Cubic cubic_{};
    float tau_ = 0;
};

}  // namespace KF_ISA
}  // namespace kineflow
