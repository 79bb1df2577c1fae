// What TV-L1 does to one pixel: the mathematics that the CPU code and the CUDA kernels share.
//
// F is `float` in a CUDA thread and a struct of SIMD lanes on the CPU. No standard headers: NVRTC compiles this file
// at run time. F needs + - * and, found by argument-dependent lookup or below, multiply_add, square_root, reciprocal,
// smaller and larger. multiply_add(a, b, c) is a b + c, rounded once where the processor can.
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
//
// The code keeps theta/tau p instead, and calls that p: it multiplies less. Both parts of a step of u have the factor
// tau then, which is taken out.
//
//     u  = u + tau (div p + TH(u) / tau)
//     p  = (p + grad u) / (1 + tau/theta |grad u|)

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
__device__ __forceinline__ float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
// One instruction each, where a comparison and a choice are two: they differ in not-a-number only.
__device__ __forceinline__ float smaller(float a, float b) { return fminf(a, b); }
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
#else
KF_PIXEL float square_root(float x) { return __builtin_sqrtf(x); }
KF_PIXEL float reciprocal(float x) { return 1.0f / x; }
KF_PIXEL float multiply_add(float a, float b, float c) { return a * b + c; }
KF_PIXEL float smaller(float a, float b) { return a < b ? a : b; }
KF_PIXEL float larger(float a, float b) { return a > b ? a : b; }
#endif

// Below this squared gradient a pixel tells nothing about its motion.
constexpr float GRADIENT_FLOOR = 1e-12f;

// The linearised data term of a pixel, fixed during one warp.
template <class F>
struct DataTerm {
    F gx, gy;   // gradient of the warped second frame
    F rest;     // rho(u) = rest + gx u1 + gy u2
    F inverse;  // -1 / (tau max(gx^2 + gy^2, GRADIENT_FLOOR))
};

template <class F>
KF_PIXEL DataTerm<F> data_term(F warped, F gx, F gy, F first, F u1, F u2, F minus_tau, F floor) {
    return {gx, gy, warped - first - multiply_add(gx, u1, gy * u2),
            reciprocal(minus_tau * larger(multiply_add(gx, gx, gy * gy), floor))};
}

// A step of u: what tau times is added.
template <class F>
struct Step {
    F x, y;
};

// One step of u, given div p of both components: u = u + tau (div p + along grad I1).
//
// The three cases of TH, rho below, above and within lambda theta |grad|^2, are one clamp of the multiple of the
// gradient, to lambda theta / tau either way: no branch, no division.
template <class F>
KF_PIXEL Step<F> step_flow(const DataTerm<F>& data, F div1, F div2, F most_along, F tau, F& u1, F& u2) {
    const F rho = multiply_add(data.gy, u2, multiply_add(data.gx, u1, data.rest));
    const F least = most_along - most_along - most_along;
    const F along = smaller(larger(rho * data.inverse, least), most_along);
    const Step<F> step = {multiply_add(along, data.gx, div1), multiply_add(along, data.gy, div2)};
    u1 = multiply_add(tau, step.x, u1);
    u2 = multiply_add(tau, step.y, u2);
    return step;
}

// Forward differences of u1 and u2, and what p is divided by: 1 + tau/theta |grad u|.
template <class F>
struct Slopes {
    F x1, y1, x2, y2;
    F divisor1, divisor2;
};

template <class F>
KF_PIXEL Slopes<F> slopes(F x1, F y1, F x2, F y2, F tau_theta) {
    return {x1, y1, x2, y2, multiply_add(tau_theta, square_root(multiply_add(x1, x1, y1 * y1)), 1.0f),
            multiply_add(tau_theta, square_root(multiply_add(x2, x2, y2 * y2)), 1.0f)};
}

// The dual variables of one pixel: p of u1 is (x1, y1), p of u2 is (x2, y2).
template <class F>
struct Dual {
    F x1, y1, x2, y2;
};

// One step of p. One reciprocal serves both divisions: with r = 1 / (a b), p1 / a = p1 r b and p2 / b = p2 r a.
template <class F>
KF_PIXEL void step_dual(const Slopes<F>& u, Dual<F>& p) {
    const F r = reciprocal(u.divisor1 * u.divisor2);
    const F by_1 = r * u.divisor2;
    const F by_2 = r * u.divisor1;
    p.x1 = (p.x1 + u.x1) * by_1;
    p.y1 = (p.y1 + u.y1) * by_1;
    p.x2 = (p.x2 + u.x2) * by_2;
    p.y2 = (p.y2 + u.y2) * by_2;
}

// Where a resized pixel lies between two samples along one axis: pixel centres are half-integers, and the edge is
// repeated, as OpenCV's INTER_LINEAR has it. In double, like OpenCV's: single precision is off by 1e-5 px at x = 340.
struct Between {
    int first, second;
    float fraction;  // of the way from one to the other
};

KF_PIXEL Between between(int index, double scale, int size) {
    const double at = (index + 0.5) * scale - 0.5;
    if (at < 0) return {0, 0, 0};
    const int first = static_cast<int>(at);
    if (first >= size - 1) return {size - 1, size - 1, 0};
    return {first, first + 1, static_cast<float>(at - first)};
}

// Of two samples; across first and then down, this gives the bits of OpenCV's resize on x86-64, where IPP does it.
template <class F>
KF_PIXEL F mixed(F a, F b, F fraction) {
    return multiply_add(b - a, fraction, a);
}

// Keys' cubic convolution with parameter `a`, -0.75 in OpenCV's remap and -0.5 in its CUDA code: the weight of sample k
// of four, for a point t (0 to 1) after sample 1, is ((c3[k] t + c2[k]) t + c1[k]) t + c0[k].
struct Cubic {
    float c3[4], c2[4], c1[4], c0[4];
};

KF_PIXEL constexpr Cubic cubic_convolution(float a) {
    return {{a, a + 2, -a - 2, -a}, {-2 * a, -a - 3, 2 * a + 3, a}, {a, 0, -a, 0}, {0, 1, 0, 0}};
}

template <class F>
KF_PIXEL void cubic_weights(const Cubic& cubic, F t, F weights[4]) {
    for (int k = 0; k < 4; k++) {
        const F quadratic = multiply_add(cubic.c3[k], t, cubic.c2[k]);
        weights[k] = multiply_add(multiply_add(quadratic, t, cubic.c1[k]), t, cubic.c0[k]);
    }
}

}  // namespace kineflow
