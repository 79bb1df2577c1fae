// Several iterations a launch, on tiles that stay in registers.
//
// A block holds one tile of one pair. Each thread owns ROW x COLUMN pixels: u and p in registers, the data term, which
// only it reads, in shared memory. In an iteration a pixel needs p of its left and upper neighbour and then u of its
// right and lower one; where these belong to another thread they pass through shared memory:
//
//     write p of my right column and lower row | barrier | step of u | write u of my left column and upper row |
//     barrier | step of p
//
// Two barriers suffice, as p and u pass through different places. What lies beyond the tile is not known, so each
// iteration spoils one more ring of pixels: tiles overlap by HALO on all sides, at most HALO iterations are done, and
// only pixels within the rings are written.

#pragma once

#include "tvl1_batch.cuh"

namespace kineflow {

// N neighbouring floats, moved by one instruction where alignment allows.
template <int N>
struct alignas(N % 4 == 0 ? 16 : (N % 2 == 0 ? 8 : 4)) Run {
    float at[N];
};

// THREADS_X x THREADS_Y threads of COLUMNS x ROWS pixels each.
template <int THREADS_X, int THREADS_Y, int COLUMNS, int ROWS, int HALO>
struct Tile {
    static constexpr int THREADS = THREADS_X * THREADS_Y;
    static constexpr int WIDTH = THREADS_X * COLUMNS;
    static constexpr int HEIGHT = THREADS_Y * ROWS;
    static constexpr int INNER_WIDTH = WIDTH - 2 * HALO;
    static constexpr int INNER_HEIGHT = HEIGHT - 2 * HALO;
    // Whether a thread's first column is a multiple of COLUMNS in the image.
    static constexpr bool ALIGNED = INNER_WIDTH % COLUMNS == 0 && HALO % COLUMNS == 0;

    // Values of neighbours, of component 0 and 1. The columns have one place more than threads, and so have the rows:
    // the threads at the end read zeros there.
    struct Shared {
        float4 data[ROWS * COLUMNS][THREADS];
        Run<COLUMNS> upper_dual[2][THREADS_Y + 1][THREADS_X];  // y of p: thread row t finds the one above at t
        Run<COLUMNS> lower_flow[2][THREADS_Y + 1][THREADS_X];  // and u of the one below at t + 1
        float left_dual[2][HEIGHT][THREADS_X + 1];             // x of p: thread column t finds the left one at t
        float right_flow[2][HEIGHT][THREADS_X + 1];            // and u of the right one at t + 1
        float change[HALO][THREADS];                           // squared change of u in each tested iteration
    };

    const Batch& batch;
    Shared& shared;
    const int thread, thread_x, thread_y;
    const int x0, y0;  // of this thread's first pixel, in the image
    bool at_edge;      // whether any pixel of this thread is outside, or the last one inside
    float u1[ROWS][COLUMNS], u2[ROWS][COLUMNS];
    Dual<float> p[ROWS][COLUMNS];

    KF_DEVICE Tile(const Batch& batch, Shared& shared)
        : batch(batch),
          shared(shared),
          thread(threadIdx.x),
          thread_x(threadIdx.x % THREADS_X),
          thread_y(threadIdx.x / THREADS_X),
          x0(static_cast<int>(blockIdx.x) * INNER_WIDTH - HALO + thread_x * COLUMNS),
          y0(static_cast<int>(blockIdx.y) * INNER_HEIGHT - HALO + thread_y * ROWS),
          at_edge(x0 < 0 || y0 < 0 || x0 + COLUMNS >= batch.level.width || y0 + ROWS >= batch.level.height) {}

    KF_DEVICE bool row_inside(int r) const { return y0 + r >= 0 && y0 + r < batch.level.height; }
    KF_DEVICE bool inside(int r, int c) const { return row_inside(r) && x0 + c >= 0 && x0 + c < batch.level.width; }
    // Whether a pixel is right after HALO iterations, and this tile's to write.
    KF_DEVICE bool row_owned(int r) const {
        const int row = thread_y * ROWS + r;
        return row >= HALO && row < HEIGHT - HALO && y0 + r < batch.level.height;
    }
    KF_DEVICE bool owned(int r, int c) const {
        const int column = thread_x * COLUMNS + c;
        return row_owned(r) && column >= HALO && column < WIDTH - HALO && x0 + c < batch.level.width;
    }
    KF_DEVICE long long element(int r) const { return static_cast<long long>(y0 + r) * batch.level.stride + x0; }

    // One row of this thread's pixels, zero outside the image.
    KF_DEVICE Run<COLUMNS> read(const float* plane, int r) const {
        Run<COLUMNS> run;
        if (ALIGNED && row_inside(r) && x0 >= 0 && x0 + COLUMNS <= batch.level.width)
            return *reinterpret_cast<const Run<COLUMNS>*>(plane + element(r));
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) run.at[c] = inside(r, c) ? plane[element(r) + c] : 0.0f;
        return run;
    }

    KF_DEVICE void write(float* plane, int r, const Run<COLUMNS>& run) const {
        // Where runs are aligned, the halo is a whole number of them: all or none of a run's pixels are owned.
        if (ALIGNED && x0 + COLUMNS <= batch.level.width) {
            if (owned(r, 0)) *reinterpret_cast<Run<COLUMNS>*>(plane + element(r)) = run;
            return;
        }
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c)
            if (owned(r, c)) plane[element(r) + c] = run.at[c];
    }

    KF_DEVICE void load(const float* flow, const float* dual, const float4* data) {
        const long long plane = batch.level.plane;
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const Run<COLUMNS> planes[6] = {
                read(flow, r),         read(flow + plane, r),     read(dual, r),
                read(dual + plane, r), read(dual + 2 * plane, r), read(dual + 3 * plane, r),
            };
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                u1[r][c] = planes[0].at[c];
                u2[r][c] = planes[1].at[c];
                p[r][c] = {planes[2].at[c], planes[3].at[c], planes[4].at[c], planes[5].at[c]};
                const float4 none = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                shared.data[r * COLUMNS + c][thread] = inside(r, c) ? data[element(r) + c] : none;
            }
        }
        // What lies beyond the tile is never written again.
        for (int i = thread; i < 2 * HEIGHT; i += THREADS) {
            shared.left_dual[i / HEIGHT][i % HEIGHT][0] = 0.0f;
            shared.right_flow[i / HEIGHT][i % HEIGHT][THREADS_X] = 0.0f;
        }
        for (int i = thread; i < 2 * THREADS_X; i += THREADS) {
            shared.upper_dual[i / THREADS_X][0][i % THREADS_X] = Run<COLUMNS>{};
            shared.lower_flow[i / THREADS_X][THREADS_Y][i % THREADS_X] = Run<COLUMNS>{};
        }
    }

    KF_DEVICE void store(float* flow, float* dual) const {
        const long long plane = batch.level.plane;
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            Run<COLUMNS> planes[6];
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                planes[0].at[c] = u1[r][c];
                planes[1].at[c] = u2[r][c];
                planes[2].at[c] = p[r][c].x1;
                planes[3].at[c] = p[r][c].y1;
                planes[4].at[c] = p[r][c].x2;
                planes[5].at[c] = p[r][c].y2;
            }
            write(flow, r, planes[0]);
            write(flow + plane, r, planes[1]);
#pragma unroll
            for (int i = 0; i < 4; ++i) write(dual + i * plane, r, planes[2 + i]);
        }
    }

    KF_DEVICE void pass_dual() {
        Run<COLUMNS> lower[2];
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            lower[0].at[c] = p[ROWS - 1][c].y1;
            lower[1].at[c] = p[ROWS - 1][c].y2;
        }
        shared.upper_dual[0][thread_y + 1][thread_x] = lower[0];
        shared.upper_dual[1][thread_y + 1][thread_x] = lower[1];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            shared.left_dual[0][thread_y * ROWS + r][thread_x + 1] = p[r][COLUMNS - 1].x1;
            shared.left_dual[1][thread_y * ROWS + r][thread_x + 1] = p[r][COLUMNS - 1].x2;
        }
    }

    KF_DEVICE void pass_flow() {
        Run<COLUMNS> upper[2];
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            upper[0].at[c] = u1[0][c];
            upper[1].at[c] = u2[0][c];
        }
        shared.lower_flow[0][thread_y][thread_x] = upper[0];
        shared.lower_flow[1][thread_y][thread_x] = upper[1];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            shared.right_flow[0][thread_y * ROWS + r][thread_x] = u1[r][0];
            shared.right_flow[1][thread_y * ROWS + r][thread_x] = u2[r][0];
        }
    }

    // The step of u at all pixels; the sum of squared change of owned ones, if it is wanted.
    template <bool SUMMED>
    KF_DEVICE float all_flow() {
        float sum = 0.0f;
        const Run<COLUMNS> upper1 = shared.upper_dual[0][thread_y][thread_x];
        const Run<COLUMNS> upper2 = shared.upper_dual[1][thread_y][thread_x];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const float left1 = shared.left_dual[0][thread_y * ROWS + r][thread_x];
            const float left2 = shared.left_dual[1][thread_y * ROWS + r][thread_x];
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                // No index leaves its array where the other branch is taken.
                const Dual<float>& here = p[r][c];
                const Dual<float>& left = p[r][c > 0 ? c - 1 : 0];
                const Dual<float>& upper = p[r > 0 ? r - 1 : 0][c];
                const float x1 = here.x1 - (c > 0 ? left.x1 : left1);
                const float y1 = here.y1 - (r > 0 ? upper.y1 : upper1.at[c]);
                const float x2 = here.x2 - (c > 0 ? left.x2 : left2);
                const float y2 = here.y2 - (r > 0 ? upper.y2 : upper2.at[c]);
                const float4 term = shared.data[r * COLUMNS + c][thread];
                const float change = step_flow(DataTerm<float>{term.x, term.y, term.z, term.w}, x1 + y1, x2 + y2,
                                               batch.lambda_theta, batch.tau, u1[r][c], u2[r][c]);
                if (SUMMED && owned(r, c)) sum += change;
            }
        }
        return sum;
    }

    // The step of p at all pixels. Forward differences of u are zero in the last column and row.
    KF_DEVICE void all_dual() {
        Run<COLUMNS> lower1 = shared.lower_flow[0][thread_y + 1][thread_x];
        Run<COLUMNS> lower2 = shared.lower_flow[1][thread_y + 1][thread_x];
        const bool last_column = x0 + COLUMNS == batch.level.width;
        const bool last_row = y0 + ROWS == batch.level.height;
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            float right1 = shared.right_flow[0][thread_y * ROWS + r][thread_x + 1];
            float right2 = shared.right_flow[1][thread_y * ROWS + r][thread_x + 1];
            if (last_column) right1 = u1[r][COLUMNS - 1];
            if (last_column) right2 = u2[r][COLUMNS - 1];
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                if (r == ROWS - 1 && last_row) lower1.at[c] = u1[r][c];
                if (r == ROWS - 1 && last_row) lower2.at[c] = u2[r][c];
                const int right = c < COLUMNS - 1 ? c + 1 : 0;
                const int lower = r < ROWS - 1 ? r + 1 : 0;
                const float here1 = u1[r][c];
                const float here2 = u2[r][c];
                const float x1 = (c < COLUMNS - 1 ? u1[r][right] : right1) - here1;
                const float y1 = (r < ROWS - 1 ? u1[lower][c] : lower1.at[c]) - here1;
                const float x2 = (c < COLUMNS - 1 ? u2[r][right] : right2) - here2;
                const float y2 = (r < ROWS - 1 ? u2[lower][c] : lower2.at[c]) - here2;
                step_dual(slopes(x1, y1, x2, y2, batch.tau_theta), p[r][c]);
            }
        }
    }

    // Pixels just right of and below the image take u of the edge, which makes the forward difference there zero.
    KF_DEVICE void repeat_edge_flow() {
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
            for (int c = 1; c < COLUMNS; ++c)
                if (x0 + c == batch.level.width) {
                    u1[r][c] = u1[r][c - 1];
                    u2[r][c] = u2[r][c - 1];
                }
#pragma unroll
        for (int r = 1; r < ROWS; ++r)
            if (y0 + r == batch.level.height)
#pragma unroll
                for (int c = 0; c < COLUMNS; ++c) {
                    u1[r][c] = u1[r - 1][c];
                    u2[r][c] = u2[r - 1][c];
                }
    }

    // p is zero left of and above the image.
    KF_DEVICE void clear_outside_dual() {
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c)
                if (x0 + c < 0 || y0 + r < 0) p[r][c] = {0.0f, 0.0f, 0.0f, 0.0f};
    }

    template <bool SUMMED>
    KF_DEVICE float iterate() {
        pass_dual();
        __syncthreads();
        const float sum = all_flow<SUMMED>();
        if (at_edge) {
            KF_RARE_BRANCH();
            repeat_edge_flow();
        }
        pass_flow();
        __syncthreads();
        all_dual();
        if (at_edge) {
            KF_RARE_BRANCH();
            clear_outside_dual();
        }
        return sum;
    }

    // Sums over the block of what each tested iteration changed, in an order that does not vary.
    KF_DEVICE void write_change(int tested, int pair) {
        for (int count = THREADS; count > 1; count = (count + 1) / 2) {
            const int half = (count + 1) / 2;
            __syncthreads();
            if (thread + half >= count) continue;
#pragma unroll
            for (int i = 0; i < HALO; ++i)
                if (tested >> i & 1) shared.change[i][thread] += shared.change[i][thread + half];
        }
        if (thread != 0) return;
        const long long tile = static_cast<long long>(blockIdx.y) * gridDim.x + blockIdx.x;
        for (int i = 0; i < HALO; ++i) {
            if (!(tested >> i & 1)) continue;
            batch.change[(i * static_cast<long long>(batch.tiles) + tile) * batch.pairs + pair] = shared.change[i][0];
        }
    }

    // `iterations` of the pair that this block works at, from its current side to the other; at most HALO.
    KF_DEVICE void run(int pair, int iterations, int tested) {
        const int flow_side = batch.flow_side[pair];
        const int dual_side = batch.dual_side[pair];
        load(flow_of(batch, flow_side, pair), dual_of(batch, dual_side, pair), batch.data + pair * batch.level.plane);
#pragma unroll 1
        for (int i = 0; i < iterations; ++i) {
            if (tested >> i & 1)
                shared.change[i][thread] = iterate<true>();
            else
                iterate<false>();
        }
        store(flow_of(batch, 1 - flow_side, pair), dual_of(batch, 1 - dual_side, pair));
        if (tested) write_change(tested, pair);
    }
};

}  // namespace kineflow

// A kernel of one shape: `number` iterations, those tested that `flags` says from TESTED_SHIFT on. A pair that has
// iterations to redo does as many, untested.
#define KF_TILE(name, blocks, ...)                                                                     \
    KF_KERNEL(name, (kineflow::Tile<__VA_ARGS__>::THREADS), blocks) {                                  \
        using Shape = kineflow::Tile<__VA_ARGS__>;                                                     \
        KF_SHARED(memory);                                                                             \
        const int pair = kineflow::active_pair(batch);                                                 \
        if (pair < 0) return;                                                                          \
        const int redo = batch.redo[pair];                                                             \
        if (redo == 0 && number == 0) return;                                                          \
        Shape tile(batch, *reinterpret_cast<Shape::Shared*>(memory));                                  \
        tile.run(pair, redo ? redo : number, redo ? 0 : flags >> kineflow::TESTED_SHIFT);              \
    }
