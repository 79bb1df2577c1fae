// Median filter of the flow, 3x3 or 5x5, the edge repeated: OpenCV's medianBlur. A thread makes SPAN medians down a column
// and sorts each row of its window once.

#pragma once

#include "tvl1_batch.cuh"
#include "tvl1_median.h"

namespace kineflow {

constexpr int MEDIAN_SPAN = 8;
constexpr int MEDIAN_THREADS = 128;

// What the medians of a block see, in shared memory: where a value lies in global memory is worked out once, not by
// each of the threads that want it.
template <int SIZE>
struct Seen {
    static constexpr int HALF = SIZE / 2;
    float at[MEDIAN_SPAN + 2 * HALF][MEDIAN_THREADS + 2 * HALF];

    // Of a strip's columns, around (x, y).
    KF_DEVICE void load(const Level& level, const float* flow, int x, int y) {
        const int column = threadIdx.x;
        const float* left = flow + clamped(x - HALF, 0, level.width - 1);
        const float* right = flow + clamped(x - HALF + MEDIAN_THREADS, 0, level.width - 1);
#pragma unroll
        for (int row = 0; row < MEDIAN_SPAN + 2 * HALF; ++row) {
            const int place = clamped(y - HALF + row, 0, level.height - 1) * level.stride;
            at[row][column] = left[place];
            if (column < 2 * HALF) at[row][MEDIAN_THREADS + column] = right[place];
        }
        __syncthreads();
    }

    // The window's columns of a row.
    KF_DEVICE void read(int row, float (&values)[SIZE]) const {
#pragma unroll
        for (int i = 0; i < SIZE; ++i) values[i] = at[row][threadIdx.x + i];
    }
};

// Where a thread reads and writes; both components of a pair are alike, so blockIdx.y counts spans of both.
struct Strip {
    const float* from;
    float* to;
    int x, y;  // of the first median
};
KF_DEVICE Strip strip_of_thread(const Batch& batch, int pair) {
    const int spans = (batch.level.height + MEDIAN_SPAN - 1) / MEDIAN_SPAN;
    const int component = blockIdx.y / spans;
    const int side = batch.flow_side[pair];
    const long long plane = component * batch.level.plane;
    return {flow_of(batch, side, pair) + plane, flow_of(batch, 1 - side, pair) + plane,
            static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x),
            static_cast<int>(blockIdx.y % spans) * MEDIAN_SPAN};
}
KF_DEVICE void write_median(const Level& level, const Strip& strip, int down, float median) {
    const int y = strip.y + down;
    if (y < level.height) strip.to[y * level.stride + strip.x] = median;
}

KF_KERNEL(median3, MEDIAN_THREADS, 1) {
    const int pair = active_pair(batch);
    if (pair < 0 || batch.redo[pair]) return;
    const Strip strip = strip_of_thread(batch, pair);
    KF_SHARED(memory);
    Seen<3>& seen = *reinterpret_cast<Seen<3>*>(memory);
    seen.load(batch.level, strip.from, strip.x, strip.y);
    if (strip.x >= batch.level.width) return;
    float rows[MEDIAN_SPAN + 2][3];
#pragma unroll
    for (int row = 0; row < MEDIAN_SPAN + 2; ++row) {
        seen.read(row, rows[row]);
        sort_row(rows[row]);
        if (row >= 2) write_median(batch.level, strip, row - 2, median9(rows[row - 2], rows[row - 1], rows[row]));
    }
}

KF_KERNEL(median5, MEDIAN_THREADS, 1) {
    const int pair = active_pair(batch);
    if (pair < 0 || batch.redo[pair]) return;
    const Strip strip = strip_of_thread(batch, pair);
    KF_SHARED(memory);
    Seen<5>& seen = *reinterpret_cast<Seen<5>*>(memory);
    seen.load(batch.level, strip.from, strip.x, strip.y);
    if (strip.x >= batch.level.width) return;
    // Medians y and y + 1, for y even, share rows y - 1 to y + 2: two row pairs. `rows` are counted from y - 2 of the
    // first median, and pair k holds rows 2k + 1 and 2k + 2.
    float rows[MEDIAN_SPAN + 4][5];
    float pairs[MEDIAN_SPAN / 2 + 1][10];
#pragma unroll
    for (int row = 0; row < MEDIAN_SPAN + 4; ++row) {
        seen.read(row, rows[row]);
        sort_row(rows[row]);
        if (row >= 2 && row % 2 == 0) merge5(rows[row - 1], rows[row], pairs[row / 2 - 1]);
        if (row >= 5 && row % 2 == 1) {
            const int first = row - 5;
            float middle[6];
            middle6(pairs[first / 2], pairs[first / 2 + 1], middle);
            write_median(batch.level, strip, first, sixth(middle, rows[first]));
            write_median(batch.level, strip, first + 1, sixth(middle, rows[row]));
        }
    }
}

}  // namespace kineflow
