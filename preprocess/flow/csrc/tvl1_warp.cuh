// The second frame and its gradient, sampled where the flow so far points to, as the data term of one warp.

#pragma once

#include "tvl1_batch.cuh"

namespace kineflow {

// Weights of 4 x 4 samples by cubic convolution.
struct Weights {
    float across[4], down[4];
};

// The weighted sum of the samples from (column, row) on. Unless all are INSIDE, those outside the image are zero, or
// those of its edge.
template <bool INSIDE>
KF_DEVICE float4 weighted(const Batch& batch, const float4* image, int column, int row, const Weights& weights) {
    const Level& level = batch.level;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const int y = INSIDE ? row + j : clamped(row + j, 0, level.height - 1);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int x = INSIDE ? column + i : clamped(column + i, 0, level.width - 1);
            const bool counts = INSIDE || !batch.zero_outside || (x == column + i && y == row + j);
            const float weight = counts ? weights.across[i] * weights.down[j] : 0.0f;
            const float4 sample = image[y * level.stride + x];
            sum.x += weight * sample.x;
            sum.y += weight * sample.y;
            sum.z += weight * sample.z;
        }
    }
    return sum;
}

// The image at (x, y).
KF_DEVICE float4 sampled(const Batch& batch, const float4* image, float x, float y) {
    const Level& level = batch.level;
    // Farther out all samples are outside: nothing changes, and the conversion to integers stays defined.
    x = smaller(larger(x, -3.0f), level.width + 2.0f);
    y = smaller(larger(y, -3.0f), level.height + 2.0f);
    const float left = floorf(x);
    const float top = floorf(y);
    Weights weights;
    // They sum to one, so that OpenCV-CUDA's division by their sum is left out.
    const Cubic cubic = cubic_convolution(batch.cubic);
    cubic_weights(cubic, x - left, weights.across);
    cubic_weights(cubic, y - top, weights.down);
    const int column = static_cast<int>(left) - 1;
    const int row = static_cast<int>(top) - 1;
    const bool inside = column >= 0 && column + 3 < level.width && row >= 0 && row + 3 < level.height;
    return inside ? weighted<true>(batch, image, column, row, weights)
                  : weighted<false>(batch, image, column, row, weights);
}

// Data term of pair `blockIdx.z`.
KF_KERNEL(warp, 256, 2) {
    const Pixel pixel = pixel_of_thread(batch.level);
    if (!pixel.inside) return;
    const int pair = blockIdx.z;
    const int2 frames = batch.pair_frames[pair];
    const float* flow = flow_of(batch, batch.flow_side[pair], pair);
    const float u1 = flow[pixel.at];
    const float u2 = flow[batch.level.plane + pixel.at];
    const float first = batch.image[frames.x * batch.level.plane + pixel.at].x;
    const float4 second = sampled(batch, batch.image + frames.y * batch.level.plane, pixel.x + u1, pixel.y + u2);
    const DataTerm<float> term = data_term(second.x, second.y, second.z, first, u1, u2, -batch.tau, GRADIENT_FLOOR);
    float* data = data_of(batch, pair) + pixel.at;
    data[0] = term.gx;
    data[batch.level.plane] = term.gy;
    data[2 * batch.level.plane] = term.rest;
    data[3 * batch.level.plane] = term.inverse;
}

}  // namespace kineflow
