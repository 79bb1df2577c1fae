// What every TV-L1 kernel is told: where a batch of frame pairs lies in device memory, and the constants of the solver.
//
// Arrays of a batch are dense in [pair or frame, row, column], rows padded to `stride` elements. The flow u and the
// dual variables p exist twice, as two sides, because a launch reads one side and writes the other; which side of a
// pair is current is kept per pair, as a pair that has converged no longer changes sides.

#pragma once

#include "tvl1_pixel.h"

#if !defined(KF_DEVICE)  // the tests define these for kernels that run on a CPU
#define KF_DEVICE __device__ __forceinline__
#define KF_THREADS(threads, blocks) __launch_bounds__(threads, blocks)
#define KF_SHARED(name) extern __shared__ float4 name[]
// Keeps the compiler from turning a rare branch into instructions that every thread executes.
#define KF_RARE_BRANCH() asm volatile("")
// Keeps it from computing a value anew wherever it is used.
#define KF_KEPT(value) asm volatile("" : "+r"(value))
#endif

// Every kernel has the same parameters, so that one Python function launches them all. What `number` and `flags` mean
// is said at each kernel.
#define KF_KERNEL(name, threads, blocks)                   \
    extern "C" __global__ void KF_THREADS(threads, blocks) \
        name(const kineflow::Batch batch, const int number, const int flags)

namespace kineflow {

// One level of the pyramid; `stride` and `plane` count elements.
struct Level {
    int width, height, stride, unused;
    long long plane;  // height * stride
};

// Bits of `flags`.
constexpr int TURN_FLOW = 1;     // settle: the flow has been written to the other side
constexpr int TURN_DUAL = 2;     // settle: so have the dual variables
constexpr int TEST_CHANGE = 4;   // plain_flow: the change of each pixel is wanted
constexpr int TESTED_SHIFT = 8;  // tiles and settle: bit TESTED_SHIFT + i says that convergence is tested after
                                 // iteration i of the launch

constexpr int MOST_ITERATIONS = 8;  // of a launch

// Mirrored by BATCH in cuda_batch.py. No compiler pads it.
struct Batch {
    Level level;                  // the one being worked at
    Level from;                   // what a resize reads: the finer level in the pyramid, the coarser for the flow
    const unsigned char* frames;  // [frame, height, width] gray levels, dense
    float4* image;                // [frame, plane] of `level`: gray level, its x and y gradient, unused
    const float4* from_image;     // the same of `from`
    const int2* pair_frames;      // [pair] which frames a pair compares
    float* flow[2];               // [pair, 2, plane], pairs `spacing` elements apart
    float* dual[2];               // [pair, 4, plane], pairs twice that apart: x1, y1, x2, y2
    float* data;                  // [pair, 4, plane] the linearised data term, in the order of DataTerm
    float* change;                // [tested iteration, tile, pair] sums of squared change; plain kernels: [pair, plane]
    int* active;                  // pairs that have not converged, in order
    int* active_count;            // how many
    int* flow_side;               // [pair] which side holds the flow
    int* dual_side;               // [pair] and the dual variables
    int* redo;                    // [pair] iterations to do anew, having converged within a launch, or 0; see settle
    int* iterations;              // [pair] iterations done at this level
    float* flow_out;              // [pair, 2, height, width] px, or null
    unsigned char* codes_out;     // [pair, 2, height, width] quantised, or null
    long long spacing;            // elements from one pair's flow to the next; the same at all levels, see resize_flow
    int pairs;                    // in this batch
    int tiles;                    // of the tile kernel at this level
    int zero_outside;             // whether the second frame is zero outside; if not, its edge is repeated
    float most_along, tau, tau_theta;    // lambda theta / tau; tau; tau / theta
    float largest_change;                // a pair with no larger sum of squared steps of u has converged
    float cubic;                         // parameter of the cubic convolution
    double scale_x, scale_y;             // pixels of `from` a pixel of `level`
    float flow_scale;                    // what resized flow is multiplied by
    int unused;
};

KF_DEVICE int clamped(int value, int low, int high) { return value < low ? low : (value > high ? high : value); }

KF_DEVICE float* flow_of(const Batch& batch, int side, int pair) { return batch.flow[side] + pair * batch.spacing; }
KF_DEVICE float* dual_of(const Batch& batch, int side, int pair) { return batch.dual[side] + 2 * pair * batch.spacing; }
KF_DEVICE float* data_of(const Batch& batch, int pair) { return batch.data + 4 * pair * batch.level.plane; }

// Pixel of a thread in kernels that give each thread one.
struct Pixel {
    int x, y;
    long long at;  // element in a plane
    bool inside;
};
KF_DEVICE Pixel pixel_of_thread(const Level& level) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    return {x, y, static_cast<long long>(y) * level.stride + x, x < level.width && y < level.height};
}

// The pair that a block works at, or -1 for none: blocks are launched for as many pairs as the host last knew of.
KF_DEVICE int active_pair(const Batch& batch) {
    return static_cast<int>(blockIdx.z) < *batch.active_count ? batch.active[blockIdx.z] : -1;
}

}  // namespace kineflow
