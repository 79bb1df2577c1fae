// The solver for processors with AVX2.

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
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
// The order of instructions for a known processor, not for an average one, is worth 4%.
#pragma GCC target("tune=skylake,avx2,fma")
#endif

#define KF_ISA avx2
#define KF_FUSED _mm256_fmadd_ps
#define KF_LANES 8
#include "solver.h"

namespace kineflow {
int solve_pairs_avx2(const uint8_t* frames, int width, int height, int first, int last, const kineflow_params* params,
                  float* flow, int64_t* iterations) {
    return avx2::solve_pairs(frames, width, height, first, last, params, flow, iterations);
}
}  // namespace kineflow

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
