// SIMD for one instruction set: LANES floats that add, multiply and compare as one.
//
// Included by each cpu_*.cpp after it has set KF_ISA (a namespace), KF_LANES and the target. GCC's and Clang's vector
// extensions turn into whatever registers the target has, so one source serves AVX-512, AVX2, SSE2 and NEON.
//
// Every operation is the exactly rounded one of IEEE 754, multiplications and additions are fused where the source says
// so and nowhere else, and sums run over 16 partial sums on every target: so all instruction sets give the same bits, but
// for that of x86-64 before AVX2 (2013), which cannot fuse.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "tvl1_pixel.h"

namespace kineflow {
namespace KF_ISA {

using kineflow::larger;  // for single floats, which the ones below would hide
using kineflow::smaller;

constexpr int LANES = KF_LANES;
constexpr int BLOCK = 16;  // partial sums of a sum, and the multiple that rows are padded to

struct Lanes {
    typedef float Vector __attribute__((vector_size(4 * LANES)));
    Vector v;
};

typedef float Unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Mask __attribute__((vector_size(4 * LANES)));

KF_PIXEL Lanes operator+(Lanes a, Lanes b) { return {a.v + b.v}; }
KF_PIXEL Lanes operator-(Lanes a, Lanes b) { return {a.v - b.v}; }
KF_PIXEL Lanes operator*(Lanes a, Lanes b) { return {a.v * b.v}; }
KF_PIXEL Lanes operator+(Lanes a, float b) { return {a.v + b}; }
KF_PIXEL Lanes operator*(float a, Lanes b) { return {a * b.v}; }

KF_PIXEL Lanes splat(float x) { return {x - Lanes::Vector{}}; }
KF_PIXEL Lanes load(const float* from) { return {*reinterpret_cast<const Unaligned*>(from)}; }
KF_PIXEL void store(float* to, Lanes x) { *reinterpret_cast<Unaligned*>(to) = x.v; }

// The loop becomes one instruction: each target has a packed square root.
KF_PIXEL Lanes square_root(Lanes x) {
    Lanes root;
    for (int i = 0; i < LANES; i++) root.v[i] = __builtin_sqrtf(x.v[i]);
    return root;
}
KF_PIXEL Lanes multiply_add(Lanes a, Lanes b, Lanes c) {
#if defined(KF_FUSED)
    return {KF_FUSED(a.v, b.v, c.v)};
#else
    return {a.v * b.v + c.v};
#endif
}
KF_PIXEL Lanes multiply_add(Lanes a, Lanes b, float c) { return multiply_add(a, b, splat(c)); }
KF_PIXEL Lanes multiply_add(float a, Lanes b, float c) { return multiply_add(splat(a), b, splat(c)); }
KF_PIXEL Lanes reciprocal(Lanes x) { return {1.0f / x.v}; }
KF_PIXEL Lanes smaller(Lanes a, Lanes b) { return {a.v < b.v ? a.v : b.v}; }
KF_PIXEL Lanes larger(Lanes a, Lanes b) { return {a.v > b.v ? a.v : b.v}; }

// x in the first `count` lanes, 0 in the others.
KF_PIXEL Lanes first_lanes(Lanes x, int count) {
    Mask number;
    for (int i = 0; i < LANES; i++) number[i] = i;
    return {(Lanes::Vector)((Mask)x.v & (number < count))};
}

}  // namespace KF_ISA
}  // namespace kineflow
