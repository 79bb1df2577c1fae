// The kernels as a library for ctypes. Python finds a kernel by name and passes its address; the tiles to instantiate
// come with -DTILES=...

#include "cuda_shim.h"  // first: it stands in for what the CUDA compiler brings
#include "tvl1_kernels.cuh"

TILES

extern "C" {

using Kernel = void (*)(kineflow::Batch, int, int);

int launch(Kernel kernel, const unsigned* grid, const unsigned* block, unsigned shared_bytes,
           const kineflow::Batch* batch, int number, int flags) {
    return shim::launch({grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, shared_bytes,
                        [=] { kernel(*batch, number, flags); });
}

int size_of_batch() { return sizeof(kineflow::Batch); }

// For tests of the emulation itself.
void divergent_barrier(kineflow::Batch, int, int) {
    if (threadIdx.x > 0) __syncthreads();
}
void divergent_shuffle(kineflow::Batch, int, int) {
    if (threadIdx.x > 0) __shfl_up_sync(0xffffffff, 1.0f, 1, 32);
    __syncthreads();
}
void shuffled_numbers(kineflow::Batch batch, int, int) {
    const float number = threadIdx.x;
    batch.change[threadIdx.x] = __shfl_up_sync(0xffffffff, number, 1, 16);
    batch.change[blockDim.x + threadIdx.x] = __shfl_down_sync(0xffffffff, number, 1, 16);
}
void missing_barrier(kineflow::Batch batch, int, int) {
    KF_SHARED(memory);
    memory[threadIdx.x].x = 1.0f;
    batch.change[threadIdx.x] = memory[threadIdx.x ^ 1].x;
}
void blocks_that_meet(kineflow::Batch batch, int, int) {
    batch.change[2 + blockIdx.x] = batch.change[blockIdx.x ^ 1];
    batch.change[blockIdx.x] = 1.0f;
}
void beyond_shared_memory(kineflow::Batch, int, int) {
    KF_SHARED(memory);
    memory[1].x = 1.0f;
}
void unwritten_shared_memory(kineflow::Batch batch, int, int) {
    KF_SHARED(memory);
    batch.change[threadIdx.x] = memory[0].x;
}
}
