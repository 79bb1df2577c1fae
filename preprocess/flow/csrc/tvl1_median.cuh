// Median filter of the flow, 3x3 or 5x5, the edge repeated: OpenCV's medianBlur.
//
// A thread makes SPAN medians down a column and sorts each row of its window once. For 5x5, rows are then merged in
// pairs; two neighbouring medians share four rows, of whose 20 values only the middle six can still be the median of
// either. Sorting networks without branches: about 80 minima and maxima a pixel, where 25 values from scratch take
// 200 or more. Whatever a network computes in vain the compiler drops.

#pragma once

#include "tvl1_batch.cuh"

namespace kineflow {

constexpr int MEDIAN_SPAN = 8;
constexpr int MEDIAN_THREADS = 128;

KF_DEVICE void order(float& a, float& b) {
    const float low = fminf(a, b);
    b = fmaxf(a, b);
    a = low;
}

KF_DEVICE void sort3(float (&v)[3]) {
    order(v[0], v[1]);
    order(v[1], v[2]);
    order(v[0], v[1]);
}

KF_DEVICE void sort5(float (&v)[5]) {
    order(v[0], v[1]);
    order(v[3], v[4]);
    order(v[2], v[4]);
    order(v[2], v[3]);
    order(v[1], v[4]);
    order(v[0], v[3]);
    order(v[0], v[2]);
    order(v[1], v[3]);
    order(v[1], v[2]);
}

// Two sorted fives to a sorted ten: Batcher's odd-even merge.
KF_DEVICE void merge5(const float (&a)[5], const float (&b)[5], float (&merged)[10]) {
    float v[10] = {a[0], a[1], a[2], a[3], a[4], b[0], b[1], b[2], b[3], b[4]};
    order(v[0], v[5]);
    order(v[4], v[9]);
    order(v[4], v[5]);
    order(v[2], v[7]);
    order(v[2], v[4]);
    order(v[7], v[5]);
    order(v[1], v[6]);
    order(v[3], v[8]);
    order(v[3], v[6]);
    order(v[1], v[2]);
    order(v[3], v[4]);
    order(v[6], v[7]);
    order(v[8], v[5]);
    const float in_order[10] = {v[0], v[1], v[2], v[3], v[4], v[6], v[7], v[8], v[5], v[9]};
#pragma unroll
    for (int i = 0; i < 10; ++i) merged[i] = in_order[i];
}

// The middle six, sorted, of two sorted tens.
KF_DEVICE void middle6(const float (&a)[10], const float (&b)[10], float (&middle)[6]) {
    float low[5], high[5];
#pragma unroll
    for (int i = 0; i < 5; ++i) {
        // Pairing one ascending with the other descending gives the ten smaller and the ten larger ones, each rising
        // and then falling; of such a sequence, halves compared element by element keep their five extremes.
        low[i] = fmaxf(fminf(a[i], b[9 - i]), fminf(a[i + 5], b[4 - i]));
        high[i] = fminf(fmaxf(a[i], b[9 - i]), fmaxf(a[i + 5], b[4 - i]));
    }
    sort5(low);
    sort5(high);
#pragma unroll
    for (int i = 0; i < 3; ++i) {
        middle[i] = low[2 + i];
        middle[3 + i] = high[i];
    }
}

// The median of 25 of which six sorted candidates and a sorted row are left: their sixth smallest of eleven, the
// smallest over the ways to take six of the largest one taken.
KF_DEVICE float sixth(const float (&six)[6], const float (&row)[5]) {
    float median = six[5];
#pragma unroll
    for (int i = 0; i < 5; ++i) median = fminf(median, fmaxf(six[4 - i], row[i]));
    return median;
}

KF_DEVICE float median9(const float (&a)[3], const float (&b)[3], const float (&c)[3]) {
    float candidates[3] = {
        fmaxf(a[0], fmaxf(b[0], c[0])),
        fmaxf(fminf(a[1], b[1]), fminf(fmaxf(a[1], b[1]), c[1])),
        fminf(a[2], fminf(b[2], c[2])),
    };
    sort3(candidates);
    return candidates[1];
}

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
        sort3(rows[row]);
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
        sort5(rows[row]);
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
