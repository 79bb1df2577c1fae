// The C interface of the CPU engine, called through ctypes, which gives up the interpreter lock during a call.

#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { KINEFLOW_OPENCV_CPU = 0, KINEFLOW_OPENCV_CUDA = 1 };
enum { KINEFLOW_OK = 0, KINEFLOW_NO_MEMORY = 1, KINEFLOW_NO_ISA = 2 };

// As Tvl1Params in preprocess/flow/params.py.
typedef struct {
    double tau, lambda, theta, epsilon, scale_step;
    int32_t scales, warps, inner_iterations, outer_iterations, median, convention, check_every;
} kineflow_params;

// Flow of a clip: frames uint8 [count, height, width]; flow float32 [count - 1, 2, height, width]; iterations int64
// [count - 1] or null. `isa` is a name of kineflow_isas, or null for the best one of this processor.
__attribute__((visibility("default"))) int kineflow_tvl1(const uint8_t* frames, int count, int height, int width, const kineflow_params* params, int threads,
                  const char* isa, float* flow, int64_t* iterations);

// Instruction sets that this processor can run, best first, separated by spaces.
__attribute__((visibility("default"))) const char* kineflow_isas(void);

#ifdef __cplusplus
}
#endif
