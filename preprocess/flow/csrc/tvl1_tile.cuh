// Several iterations a launch, on tiles that stay in registers.
//
// A block holds one tile of one pair. Each thread owns ROW x COLUMN pixels: u and p in registers, the data term, which
// only it reads, in shared memory. In an iteration a pixel needs p of its left and upper neighbour and then u of its
// right and lower one; where these belong to another thread, rows pass through shared memory, columns by shuffles:
//
//     write p of my lower row | barrier | step of u | write u of my upper row | barrier | step of p
//
// Two barriers suffice, as p and u pass through different places. What lies beyond the tile is not known, so each
// iteration spoils one more ring of pixels, but for sides at the edge of the image, beyond which there is nothing to
// know: tiles overlap by 2 HALO, at most HALO iterations are done, and only pixels within the rings are written.
//
// Pixels of a tile outside the image hold whatever the padding of rows or a repeated row holds. Nothing inside ever
// depends on them.

#pragma once

#include "tvl1_batch.cuh"

namespace kineflow {

// N neighbouring floats, moved by one instruction.
template <int N>
struct alignas(4 * N) Run {
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
    static_assert(COLUMNS == 2 || COLUMNS == 4, "runs are moved by one instruction");
    static_assert(HALO % COLUMNS == 0, "runs are aligned, and owned as a whole");
    static_assert(HALO <= MOST_ITERATIONS, "settle sums up as many");
    static_assert(32 % THREADS_X == 0 && THREADS % 32 == 0, "rows of threads lie within a warp, for shuffles");

    // Values of neighbours, of component 0 and 1. There is one row more than threads have: the threads at the end read
    // zeros there.
    struct Shared {
        Run<COLUMNS> data[ROWS][4][THREADS];
        Run<COLUMNS> upper_dual[2][THREADS_Y + 1][THREADS_X];  // y of p: thread row t finds the one above at t
        Run<COLUMNS> lower_flow[2][THREADS_Y + 1][THREADS_X];  // and u of the one below at t + 1
        float change[HALO][THREADS];                           // of u in each tested iteration, squared
    };

    // Bits of `marks`, by which a thread has all that sets it apart in one register. Owned pixels are right after HALO
    // iterations, and this tile's to write.
    static constexpr unsigned CROSSES_EDGE = 1;  // the image ends between two pixels of this thread
    static constexpr unsigned LAST_COLUMN = 2;   // it ends right of them
    static constexpr unsigned LAST_ROW = 4;      // it ends below them
    static constexpr unsigned owned_column(int c) { return 8u << c; }
    static constexpr unsigned owned_row(int r) { return 8u << COLUMNS << r; }

    const Batch& batch;
    Shared& shared;
    const int thread, thread_x, thread_y;
    const int x0, y0;  // of this thread's first pixel, in the image
    unsigned marks;
    float u1[ROWS][COLUMNS], u2[ROWS][COLUMNS];
    Dual<float> p[ROWS][COLUMNS];

    KF_DEVICE Tile(const Batch& batch, Shared& shared)
        : batch(batch),
          shared(shared),
          thread(threadIdx.x),
          thread_x(threadIdx.x % THREADS_X),
          thread_y(threadIdx.x / THREADS_X),
          x0(static_cast<int>(blockIdx.x) * INNER_WIDTH + thread_x * COLUMNS),
          y0(static_cast<int>(blockIdx.y) * INNER_HEIGHT + thread_y * ROWS),
          marks(0) {
        const int width = batch.level.width, height = batch.level.height;
        const bool across = (blockIdx.x == 0 || thread_x * COLUMNS >= HALO) &&
                            (blockIdx.x == gridDim.x - 1 || thread_x * COLUMNS < WIDTH - HALO);
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c)
            if (across && x0 + c < width) marks |= owned_column(c);
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const bool down = (blockIdx.y == 0 || thread_y * ROWS + r >= HALO) &&
                              (blockIdx.y == gridDim.y - 1 || thread_y * ROWS + r < HEIGHT - HALO);
            if (down && y0 + r < height) marks |= owned_row(r);
        }
        if ((x0 < width && x0 + COLUMNS > width) || (y0 < height && y0 + ROWS > height)) marks |= CROSSES_EDGE;
        if (x0 + COLUMNS == width) marks |= LAST_COLUMN;
        if (y0 + ROWS == height) marks |= LAST_ROW;
        KF_KEPT(marks);
    }

    KF_DEVICE void load(const float* flow, const float* dual, const float* data) {
        const Level& level = batch.level;
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const int x = clamped(x0, 0, level.stride - COLUMNS), y = clamped(y0 + r, 0, level.height - 1);
            const long long at = static_cast<long long>(y) * level.stride + x;
            const auto read = [&](const float* planes, int i) {
                return *reinterpret_cast<const Run<COLUMNS>*>(planes + i * level.plane + at);
            };
            const Run<COLUMNS> planes[6] = {read(flow, 0), read(flow, 1), read(dual, 0),
                                            read(dual, 1), read(dual, 2), read(dual, 3)};
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) {
                u1[r][c] = planes[0].at[c];
                u2[r][c] = planes[1].at[c];
                p[r][c] = {planes[2].at[c], planes[3].at[c], planes[4].at[c], planes[5].at[c]};
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) shared.data[r][i][thread] = read(data, i);
        }
        // What lies beyond the tile is never written again.
        for (int i = thread; i < 2 * THREADS_X; i += THREADS) {
            shared.upper_dual[i / THREADS_X][0][i % THREADS_X] = Run<COLUMNS>{};
            shared.lower_flow[i / THREADS_X][THREADS_Y][i % THREADS_X] = Run<COLUMNS>{};
        }
    }

    // A run that reaches beyond the image is written as a whole: rows are padded to whole runs.
    KF_DEVICE void store(float* flow, float* dual) const {
        const Level& level = batch.level;
        if (!(marks & owned_column(0))) return;
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            if (!(marks & owned_row(r))) continue;
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
            const long long at = static_cast<long long>(y0 + r) * level.stride + x0;
#pragma unroll
            for (int i = 0; i < 6; ++i) {
                float* plane = i < 2 ? flow + i * level.plane : dual + (i - 2) * level.plane;
                *reinterpret_cast<Run<COLUMNS>*>(plane + at) = planes[i];
            }
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
    }

    // The step of u at all pixels; the sum of squared steps of owned ones, if it is wanted.
    template <bool SUMMED>
    KF_DEVICE float all_flow() {
        float sums[COLUMNS] = {};
        // p is zero left of the image, and so, as it does not matter there, left of the tile. A factor costs nothing: it
        // becomes part of the subtraction.
        const float first = thread_x > 0 ? 1.0f : 0.0f;
        const Run<COLUMNS> upper1 = shared.upper_dual[0][thread_y][thread_x];
        const Run<COLUMNS> upper2 = shared.upper_dual[1][thread_y][thread_x];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const float left1 = first * __shfl_up_sync(0xffffffff, p[r][COLUMNS - 1].x1, 1, THREADS_X);
            const float left2 = first * __shfl_up_sync(0xffffffff, p[r][COLUMNS - 1].x2, 1, THREADS_X);
            const Run<COLUMNS> gx = shared.data[r][0][thread], gy = shared.data[r][1][thread];
            const Run<COLUMNS> rest = shared.data[r][2][thread], inverse = shared.data[r][3][thread];
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
                const DataTerm<float> term{gx.at[c], gy.at[c], rest.at[c], inverse.at[c]};
                const Step<float> step =
                    step_flow(term, x1 + y1, x2 + y2, batch.most_along, batch.tau, u1[r][c], u2[r][c]);
                if (SUMMED && marks & owned_row(r)) sums[c] = (sums[c] + step.x * step.x) + step.y * step.y;
            }
        }
        float sum = 0.0f;
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c)
            if (SUMMED && marks & owned_column(c)) sum += sums[c];
        return sum;
    }

    // The step of p at all pixels. Forward differences of u are zero in the last column and row.
    KF_DEVICE void all_dual() {
        Run<COLUMNS> lower1 = shared.lower_flow[0][thread_y + 1][thread_x];
        Run<COLUMNS> lower2 = shared.lower_flow[1][thread_y + 1][thread_x];
        const bool last_column = marks & LAST_COLUMN;
        const bool last_row = marks & LAST_ROW;
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            float right1 = __shfl_down_sync(0xffffffff, u1[r][0], 1, THREADS_X);
            float right2 = __shfl_down_sync(0xffffffff, u2[r][0], 1, THREADS_X);
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

    template <bool SUMMED>
    KF_DEVICE float iterate() {
        pass_dual();
        __syncthreads();
        const float sum = all_flow<SUMMED>();
        if (marks & CROSSES_EDGE) {
            KF_RARE_BRANCH();
            repeat_edge_flow();
        }
        pass_flow();
        __syncthreads();
        all_dual();
        return sum;
    }

    // Sums over the block of what each tested iteration changed: a warp an iteration, in an order that does not vary.
    KF_DEVICE void write_change(int tested, int pair) {
        __syncthreads();
        const int lane = thread % 32;
        const long long tile = static_cast<long long>(blockIdx.y) * gridDim.x + blockIdx.x;
        for (int i = thread / 32; i < HALO; i += THREADS / 32) {
            if (!(tested >> i & 1)) continue;
            float sum = 0.0f;
#pragma unroll
            for (int other = 0; other < THREADS; other += 32) sum += shared.change[i][other + lane];
#pragma unroll
            for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffff, sum, half, 32);
            if (lane == 0) batch.change[(i * static_cast<long long>(batch.tiles) + tile) * batch.pairs + pair] = sum;
        }
    }

    // `iterations` of the pair that this block works at, from its current side to the other; at most HALO.
    KF_DEVICE void run(int pair, int iterations, int tested) {
        const int flow_side = batch.flow_side[pair];
        const int dual_side = batch.dual_side[pair];
        load(flow_of(batch, flow_side, pair), dual_of(batch, dual_side, pair), data_of(batch, pair));
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
