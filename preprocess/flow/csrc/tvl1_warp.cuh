// The second frame and its gradient, sampled where the flow so far points to, as the data term of one warp.

#pragma once

#include "tvl1_batch.cuh"

namespace kineflow {

// 4 x 4 samples around (x, y), weighted by cubic convolution.
KF_DEVICE float4 sampled(const Batch& batch, const float4* image, float x, float y) {
    const Level& level = batch.level;
    // Farther out all samples are outside: nothing changes, and the conversion to integers stays defined.
    x = smaller(larger(x, -3.0f), level.width + 2.0f);
    y = smaller(larger(y, -3.0f), level.height + 2.0f);
    const float left = floorf(x);
    const float top = floorf(y);
    float across[4], down[4];
    // They sum to one, so that OpenCV-CUDA's division by their sum is left out.
    const Cubic cubic = cubic_convolution(batch.cubic);
    cubic_weights(cubic, x - left, across);
    cubic_weights(cubic, y - top, down);
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const int row = static_cast<int>(top) - 1 + j;
        const bool row_inside = row >= 0 && row < level.height;
        const float4* samples = image + static_cast<long long>(clamped(row, 0, level.height - 1)) * level.stride;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int column = static_cast<int>(left) - 1 + i;
            const bool inside = row_inside && column >= 0 && column < level.width;
            const float weight = inside || !batch.zero_outside ? across[i] * down[j] : 0.0f;
            const float4 sample = samples[clamped(column, 0, level.width - 1)];
            sum.x += weight * sample.x;
            sum.y += weight * sample.y;
            sum.z += weight * sample.z;
        }
    }
    return sum;
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
    const DataTerm<float> term = data_term(second.x, second.y, second.z, first, u1, u2, GRADIENT_FLOOR);
    batch.data[pair * batch.level.plane + pixel.at] = make_float4(term.gx, term.gy, term.rest, term.inverse_square);
}

}  // namespace kineflow
