// The solver for processors with AVX512.

#if defined(__x86_64__)

#include <immintrin.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,fma"))), apply_to = function)
#else
// The order of instructions for a known processor, not for an average one, is worth 4%.
#pragma GCC target("tune=skylake-avx512,avx512f,avx512vl,avx512dq,avx512bw,fma,prefer-vector-width=512")
#endif

#define KF_ISA avx512
#define KF_FUSED _mm512_fmadd_ps
#define KF_LANES 16
#include "solver.h"

namespace kineflow {
int solve_pairs_avx512(const uint8_t* frames, int width, int height, int first, int last, const kineflow_params* params,
                  float* flow, int64_t* iterations) {
    return avx512::solve_pairs(frames, width, height, first, last, params, flow, iterations);
}
}  // namespace kineflow

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
