// What TV-L1 does to one pixel: the mathematics that the CPU code and the CUDA kernels share.
//
// F is `float` in a CUDA thread and a struct of SIMD lanes on the CPU. No standard headers: NVRTC compiles this file
// at run time. F needs + - * and, found by argument-dependent lookup or below, square_root, reciprocal, smaller and
// larger.
//
// The energy, of the flow u = (u1, u2) between frames I0 and I1 (Zach, Pock, Bischof 2007, equation 5):
//
//     E = sum |grad u1| + |grad u2| + lambda |rho(u)|,   rho(u) = I1(x + u0) + <grad I1(x + u0), u - u0> - I0(x)
//
// is minimised by turns (Sanchez, Meinhardt-Llopis, Facciolo 2013, algorithm 1):
//
//     v  = u + TH(u)                       thresholding step, pointwise           (step_flow)
//     u  = v + theta div p                 projection, for each component         (step_flow)
//     p  = (p + tau/theta grad u) / (1 + tau/theta |grad u|)                      (step_dual)

#pragma once

#if defined(__CUDACC__)
#define KF_PIXEL __host__ __device__ __forceinline__
#else
#define KF_PIXEL inline __attribute__((always_inline))
#endif

namespace kineflow {

#if defined(__CUDA_ARCH__)
// The approximate instructions: 1 and 2 units in the last place, a tenth of the time.
__device__ __forceinline__ float square_root(float x) {
    float root;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(root) : "f"(x));
    return root;
}
__device__ __forceinline__ float reciprocal(float x) {
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(x));
    return inverse;
}
// One instruction each, where a comparison and a choice are two: they differ in not-a-number only.
__device__ __forceinline__ float smaller(float a, float b) { return fminf(a, b); }
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
#else
KF_PIXEL float square_root(float x) { return __builtin_sqrtf(x); }
KF_PIXEL float reciprocal(float x) { return 1.0f / x; }
KF_PIXEL float smaller(float a, float b) { return a < b ? a : b; }
KF_PIXEL float larger(float a, float b) { return a > b ? a : b; }
#endif

// Below this squared gradient a pixel tells nothing about its motion.
constexpr float GRADIENT_FLOOR = 1e-12f;

// The linearised data term of a pixel, fixed during one warp.
template <class F>
struct DataTerm {
    F gx, gy;          // gradient of the warped second frame
    F rest;            // rho(u) = rest + gx u1 + gy u2
    F inverse_square;  // 1 / max(gx^2 + gy^2, GRADIENT_FLOOR)
};

template <class F>
KF_PIXEL DataTerm<F> data_term(F warped, F gx, F gy, F first, F u1, F u2, F floor) {
    return {gx, gy, warped - first - (gx * u1 + gy * u2), reciprocal(larger(gx * gx + gy * gy, floor))};
}

// One step of u, given div p of both components; returns the squared length of its change.
//
// The three cases of TH, rho below, above and within lambda theta |grad|^2, are one clamp of the multiple of the
// gradient: no branch, no division.
template <class F>
KF_PIXEL F step_flow(const DataTerm<F>& data, F div1, F div2, F lambda_theta, F theta, F& u1, F& u2) {
    const F rho = data.rest + (data.gx * u1 + data.gy * u2);
    const F zero = lambda_theta - lambda_theta;
    const F along = smaller(larger(zero - rho * data.inverse_square, zero - lambda_theta), lambda_theta);
    const F change1 = along * data.gx + theta * div1;
    const F change2 = along * data.gy + theta * div2;
    u1 = u1 + change1;
    u2 = u2 + change2;
    return change1 * change1 + change2 * change2;
}

// The dual variables of one pixel: p of u1 is (x1, y1), p of u2 is (x2, y2).
template <class F>
struct Dual {
    F x1, y1, x2, y2;
};

// One step of p, given the forward differences of u1 and u2. One reciprocal serves both divisions:
// with r = 1 / (a b), p1 / a = p1 r b and p2 / b = p2 r a.
template <class F>
KF_PIXEL void step_dual(F u1x, F u1y, F u2x, F u2y, F tau_theta, F one, Dual<F>& p) {
    const F a = one + tau_theta * square_root(u1x * u1x + u1y * u1y);
    const F b = one + tau_theta * square_root(u2x * u2x + u2y * u2y);
    const F r = reciprocal(a * b);
    const F by_a = r * b;
    const F by_b = r * a;
    p.x1 = (p.x1 + tau_theta * u1x) * by_a;
    p.y1 = (p.y1 + tau_theta * u1y) * by_a;
    p.x2 = (p.x2 + tau_theta * u2x) * by_b;
    p.y2 = (p.y2 + tau_theta * u2y) * by_b;
}

// Keys' cubic convolution with parameter `a`, -0.75 in OpenCV's remap and -0.5 in its CUDA code: the weight of sample k
// of four, for a point t (0 to 1) after sample 1, is ((c3[k] t + c2[k]) t + c1[k]) t + c0[k].
struct Cubic {
    float c3[4], c2[4], c1[4], c0[4];
};

KF_PIXEL constexpr Cubic cubic_convolution(float a) {
    return {{a, a + 2, -a - 2, -a}, {-2 * a, -a - 3, 2 * a + 3, a}, {a, 0, -a, 0}, {0, 1, 0, 0}};
}

KF_PIXEL void cubic_weights(const Cubic& cubic, float t, float weights[4]) {
    for (int k = 0; k < 4; k++) weights[k] = ((cubic.c3[k] * t + cubic.c2[k]) * t + cubic.c1[k]) * t + cubic.c0[k];
}

}  // namespace kineflow
