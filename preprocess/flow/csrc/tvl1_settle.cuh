// Which pairs go on. Decided on the device, so that no launch waits for the host.

#pragma once

#include "tvl1_batch.cuh"

namespace kineflow {

constexpr int SETTLE_THREADS = 256;

// The start of a level, after its flow and dual variables were written: to side 0, or if `flags` has TURN_FLOW to the
// side that was not current. One block.
KF_KERNEL(start_level, SETTLE_THREADS, 1) {
    for (int pair = threadIdx.x; pair < batch.pairs; pair += SETTLE_THREADS) {
        batch.flow_side[pair] = flags & TURN_FLOW ? 1 - batch.flow_side[pair] : 0;
        batch.dual_side[pair] = flags & TURN_FLOW ? 1 - batch.dual_side[pair] : 0;
        batch.iterations[pair] = 0;
    }
}

// The start of a warp: all pairs are active. One block.
KF_KERNEL(start_warp, SETTLE_THREADS, 1) {
    for (int pair = threadIdx.x; pair < batch.pairs; pair += SETTLE_THREADS) {
        batch.active[pair] = pair;
        batch.redo[pair] = 0;
    }
    if (threadIdx.x == 0) *batch.active_count = batch.pairs;
}

// The first of `tested` iterations whose change is small enough, counted from 1; 0 for none. Sums are taken in a fixed
// order, so that a pair takes the same course whatever its batch.
KF_DEVICE int converged_after(const Batch& batch, int pair, int tested) {
    float change[MOST_ITERATIONS] = {};
    const float* sums = batch.change + pair;
#pragma unroll 4  // so that many loads are under way
    for (int tile = 0; tile < batch.tiles; ++tile, sums += batch.pairs)
#pragma unroll
        for (int i = 0; i < MOST_ITERATIONS; ++i)
            if (tested >> i & 1) change[i] += sums[i * static_cast<long long>(batch.tiles) * batch.pairs];
    int first = 0;
#pragma unroll
    for (int i = MOST_ITERATIONS - 1; i >= 0; --i)
        if (tested >> i & 1 && !(change[i] > batch.largest_change)) first = i + 1;
    return first;
}

// What becomes of one active pair after a launch of `number` iterations; returns whether it stays active.
//
// A pair that converged before the last iteration of the launch has gone too far. Its previous state is still on the
// other side: it does not change sides, and the next launch does only the iterations that it should have.
KF_DEVICE bool settle_pair(const Batch& batch, int pair, int number, int flags) {
    const int redone = batch.redo[pair];
    const bool iterated = flags & TURN_DUAL;
    if (!iterated) {  // the median filter passes over pairs that wait to be redone
        if (!redone) batch.flow_side[pair] ^= 1;
        return true;
    }
    if (!redone && number == 0) return true;
    const int converged = redone ? redone : converged_after(batch, pair, flags >> TESTED_SHIFT);
    if (!redone && converged && converged < number) {
        batch.redo[pair] = converged;
        return true;
    }
    batch.flow_side[pair] ^= 1;
    batch.dual_side[pair] ^= 1;
    batch.iterations[pair] += converged ? converged : number;
    return converged == 0;
}

// After each launch: active pairs change sides, and those that have converged leave the list, which keeps its order.
// `number` and `flags` as the launch had them, with TURN_FLOW after a median filter and TURN_DUAL too after
// iterations. One block.
KF_KERNEL(settle, SETTLE_THREADS, 1) {
    KF_SHARED(memory);
    int* staying = reinterpret_cast<int*>(memory);  // [SETTLE_THREADS] how many pairs stay, up to each thread's
    const int count = *batch.active_count;
    const int me = threadIdx.x;
    int kept = 0;
    for (int first = 0; first < count; first += SETTLE_THREADS) {
        const bool listed = first + me < count;
        const int pair = listed ? batch.active[first + me] : 0;
        const bool stays = listed && settle_pair(batch, pair, number, flags);
        staying[me] = stays;
        __syncthreads();
        for (int distance = 1; distance < SETTLE_THREADS; distance *= 2) {
            const int sum = staying[me] + (me >= distance ? staying[me - distance] : 0);
            __syncthreads();
            staying[me] = sum;
            __syncthreads();
        }
        // Every thread has read its pair, and the list only gets shorter: it is rewritten in place.
        if (stays) batch.active[kept + staying[me] - 1] = pair;
        kept += staying[SETTLE_THREADS - 1];
        __syncthreads();
    }
    if (me == 0) *batch.active_count = kept;
}

}  // namespace kineflow
