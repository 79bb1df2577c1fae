// CUDA blocks on a CPU, for tests of kernels on machines without a GPU.
//
// One fiber per CUDA thread; __syncthreads hands over to the next one; blocks run one after the other. From barrier to
// barrier threads run upwards or downwards, and so do the blocks of a launch, so that what a missing barrier would do, or
// a block that reads what another writes, shows now and then. Shared memory is poisoned with not-a-number before each
// block, so that reading what was never written shows. It fails on barriers that only some threads of a block reach, on
// shuffles that only some of a warp reach, and on writes beyond shared memory. It cannot show how the GPU rounds its
// approximate square roots and reciprocals.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define __global__ __attribute__((visibility("default")))
#define KF_DEVICE inline
#define KF_THREADS(threads, blocks)
#define KF_SHARED(name) float4* name = shim::shared_memory
#define KF_RARE_BRANCH()
#define KF_KEPT(value)

struct alignas(16) float4 {
    float x, y, z, w;
};
struct int2 {
    int x, y;
};
struct dim3 {
    unsigned x, y, z;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

static dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

static float4* shared_memory;

constexpr std::size_t STACK = 64 << 10;
constexpr std::size_t GUARD = 256;  // bytes after shared memory that must keep their poison

#if defined(__x86_64__)
// Saves what a function call must preserve, changes stacks, restores: 5 ns, where ucontext makes a system call.
extern "C" void shim_switch(void** from, void* to);
asm(R"(
.text
.globl shim_switch
.type shim_switch,@function
shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size shim_switch,.-shim_switch
)");
struct Context {
    void* stack_pointer = nullptr;
};
inline void change(Context& from, Context& to) { shim_switch(&from.stack_pointer, to.stack_pointer); }
inline void prepare(Context& context, char* stack, void (*entry)()) {
    // At entry the stack is as after a call: 8 bytes off a multiple of 16.
    void** top = reinterpret_cast<void**>(stack + STACK - 64);
    top[0] = reinterpret_cast<void*>(entry);
    top[1] = nullptr;
    context.stack_pointer = top - 6;
}
#else
using Context = ucontext_t;
inline void change(Context& from, Context& to) { swapcontext(&from, &to); }
inline void prepare(Context& context, char* stack, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}
#endif

struct Fiber {
    Context context;
    std::unique_ptr<char, decltype(&std::free)> stack{static_cast<char*>(std::aligned_alloc(64, STACK)), std::free};
    unsigned shuffles = 0;  // since the block began
};
static std::vector<Fiber> fibers;
static std::vector<float> passed[2];  // by shuffles; in turns, as a thread may pass the next while others still read
static Context scheduler;
static Fiber* running;
static void (*call)(const void*);
static const void* argument;

enum Wait { BARRIER, SHUFFLE, END };
static unsigned waiting[3];  // how many threads of a warp, for each

inline void wait(Wait what) {
    ++waiting[what];
    change(running->context, scheduler);
}
inline void entry() {
    call(argument);
    wait(END);
    std::abort();  // nobody resumes a fiber that has ended
}

enum Outcome { FINE = 0, DIVERGENT_BARRIER = 1, WROTE_BEYOND_SHARED_MEMORY = 2 };

constexpr unsigned WARP = 32;

// Whether the next threads, warps or blocks run from the last to the first; as if by chance, the same in every process.
inline bool downwards() {
    static std::uint32_t state = 0;
    state = state * 1664525 + 1013904223;
    return state >> 31;
}

// The threads of a warp, from `first` to `end`, until all wait for the block or have ended; whether they do so
// together. A mixture would hang or worse on a GPU.
inline bool run_warp(unsigned first, unsigned end, Wait& what) {
    do {
        std::memset(waiting, 0, sizeof waiting);
        const bool down = downwards();
        for (unsigned k = first; k < end; ++k) {
            const unsigned i = down ? end - 1 - (k - first) : k;
            threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
            running = &fibers[i];
            change(scheduler, running->context);
        }
    } while (waiting[SHUFFLE] == end - first);
    what = waiting[END] ? END : BARRIER;
    return waiting[what] == end - first;
}

// All threads of one block, round by round from barrier to barrier.
inline Outcome run_block(unsigned threads) {
    for (unsigned i = 0; i < threads; ++i) {
        fibers[i].shuffles = 0;
        prepare(fibers[i].context, fibers[i].stack.get(), entry);
    }
    const unsigned warps = (threads + WARP - 1) / WARP;
    for (Wait block = BARRIER; block != END;) {
        const bool down = downwards();
        for (unsigned k = 0; k < warps; ++k) {
            const unsigned first = WARP * (down ? warps - 1 - k : k);
            Wait warp;
            if (!run_warp(first, first + WARP < threads ? first + WARP : threads, warp)) return DIVERGENT_BARRIER;
            if (k > 0 && warp != block) return DIVERGENT_BARRIER;
            block = warp;
        }
    }
    return FINE;
}

template <class Body>
Outcome launch(dim3 grid, dim3 block, std::size_t shared_bytes, const Body& body) {
    gridDim = grid;
    blockDim = block;
    const unsigned threads = block.x * block.y * block.z;
    if (fibers.size() < threads) fibers.resize(threads);
    for (auto& values : passed) values.resize(fibers.size());
    call = [](const void* any) { (*static_cast<const Body*>(any))(); };
    argument = &body;
    std::vector<float4> memory((shared_bytes + GUARD + sizeof(float4) - 1) / sizeof(float4));
    shared_memory = memory.data();
    unsigned char* bytes = reinterpret_cast<unsigned char*>(memory.data());
    const unsigned blocks = grid.x * grid.y * grid.z;
    const bool down = downwards();
    for (unsigned k = 0; k < blocks; ++k) {
        const unsigned i = down ? blocks - 1 - k : k;
        blockIdx = {i % grid.x, i / grid.x % grid.y, i / (grid.x * grid.y)};
        std::memset(bytes, 0xff, shared_bytes + GUARD);
        if (const Outcome outcome = run_block(threads)) return outcome;
        for (std::size_t beyond = 0; beyond < GUARD; ++beyond)
            if (bytes[shared_bytes + beyond] != 0xff) return WROTE_BEYOND_SHARED_MEMORY;
    }
    return FINE;
}

// What the thread `distance` further has passed; its own value where that one is not in its segment of a warp.
inline float shuffle(float value, int distance, int width) {
    const std::ptrdiff_t me = running - fibers.data();
    std::vector<float>& values = passed[running->shuffles++ % 2];
    values[me] = value;
    wait(SHUFFLE);
    const std::ptrdiff_t other = me % width + distance;
    return values[other >= 0 && other < width ? me + distance : me];
}

}  // namespace shim

inline void __syncthreads() { shim::wait(shim::BARRIER); }
inline float __shfl_up_sync(unsigned, float value, unsigned distance, int width) {
    return shim::shuffle(value, -static_cast<int>(distance), width);
}
inline float __shfl_down_sync(unsigned, float value, unsigned distance, int width) {
    return shim::shuffle(value, static_cast<int>(distance), width);
}
