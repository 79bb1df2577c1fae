// The image pyramid with gradients, once a frame, and the flow from one level to the next.

#pragma once

#include "tvl1_batch.cuh"

namespace kineflow {

// One pixel of a finer level, resized.
KF_DEVICE float resized_gray(const Batch& batch, const float4* image, int x, int y) {
    const Between across = between(x, batch.scale_x, batch.from.width);
    const Between down = between(y, batch.scale_y, batch.from.height);
    const float4* upper = image + static_cast<long long>(down.first) * batch.from.stride;
    const float4* lower = image + static_cast<long long>(down.second) * batch.from.stride;
    return mixed(mixed(upper[across.first].x, upper[across.second].x, across.fraction),
                 mixed(lower[across.first].x, lower[across.second].x, across.fraction), down.fraction);
}

// Gray level and central differences; at the edge the one-sided difference is halved too, as in OpenCV.
template <class Gray>
KF_DEVICE void write_with_gradient(const Batch& batch, const Pixel& pixel, Gray gray) {
    const int last_x = batch.level.width - 1;
    const int last_y = batch.level.height - 1;
    const int left = clamped(pixel.x - 1, 0, last_x);
    const int right = clamped(pixel.x + 1, 0, last_x);
    const int upper = clamped(pixel.y - 1, 0, last_y);
    const int lower = clamped(pixel.y + 1, 0, last_y);
    const float dx = 0.5f * (gray(right, pixel.y) - gray(left, pixel.y));
    const float dy = 0.5f * (gray(pixel.x, lower) - gray(pixel.x, upper));
    batch.image[blockIdx.z * batch.level.plane + pixel.at] = make_float4(gray(pixel.x, pixel.y), dx, dy, 0.0f);
}

// The finest level of frame `blockIdx.z`.
KF_KERNEL(first_level, 256, 1) {
    const Pixel pixel = pixel_of_thread(batch.level);
    if (!pixel.inside) return;
    const long long width = batch.level.width;
    const unsigned char* frame = batch.frames + blockIdx.z * width * batch.level.height;
    write_with_gradient(batch, pixel, [&](int x, int y) { return static_cast<float>(frame[y * width + x]); });
}

// A level from the next finer one. Neighbours are resized again for the gradient: cheaper than a second kernel.
KF_KERNEL(next_level, 256, 1) {
    const Pixel pixel = pixel_of_thread(batch.level);
    if (!pixel.inside) return;
    const float4* image = batch.from_image + blockIdx.z * batch.from.plane;
    write_with_gradient(batch, pixel, [&](int x, int y) { return resized_gray(batch, image, x, y); });
}

// Zero flow and dual variables of pair `blockIdx.z`, on side 0: where the coarsest level starts.
KF_KERNEL(clear_pairs, 256, 1) {
    const Pixel pixel = pixel_of_thread(batch.level);
    if (!pixel.inside) return;
    const int pair = blockIdx.z;
    float* flow = flow_of(batch, 0, pair) + pixel.at;
    float* dual = dual_of(batch, 0, pair) + pixel.at;
    for (int component = 0; component < 2; ++component) flow[component * batch.level.plane] = 0.0f;
    for (int component = 0; component < 4; ++component) dual[component * batch.level.plane] = 0.0f;
}

// Flow of pair `blockIdx.z` from the coarser level to the other side of this one, and zero dual variables likewise.
// Pairs read and write different sides, so their places must not move with the size of the level: see `spacing`.
KF_KERNEL(resize_flow, 256, 1) {
    const Pixel pixel = pixel_of_thread(batch.level);
    if (!pixel.inside) return;
    const int pair = blockIdx.z;
    const int side = batch.flow_side[pair];
    const Between across = between(pixel.x, batch.scale_x, batch.from.width);
    const Between down = between(pixel.y, batch.scale_y, batch.from.height);
    for (int component = 0; component < 2; ++component) {
        const float* flow = flow_of(batch, side, pair) + component * batch.from.plane;
        const float* upper = flow + static_cast<long long>(down.first) * batch.from.stride;
        const float* lower = flow + static_cast<long long>(down.second) * batch.from.stride;
        const float value = mixed(mixed(upper[across.first], upper[across.second], across.fraction),
                                  mixed(lower[across.first], lower[across.second], across.fraction), down.fraction);
        flow_of(batch, 1 - side, pair)[component * batch.level.plane + pixel.at] = value * batch.flow_scale;
    }
    float* dual = dual_of(batch, 1 - batch.dual_side[pair], pair);
    for (int component = 0; component < 4; ++component) dual[component * batch.level.plane + pixel.at] = 0.0f;
}

// What the caller gets: pairs from `number` on, as pixels or as codes (quantise.py says why these).
KF_KERNEL(write_result, 256, 1) {
    const Pixel pixel = pixel_of_thread(batch.level);
    if (!pixel.inside) return;
    const int pair = number + blockIdx.z;
    const long long size = static_cast<long long>(batch.level.width) * batch.level.height;
    for (int component = 0; component < 2; ++component) {
        const float value = flow_of(batch, batch.flow_side[pair], pair)[component * batch.level.plane + pixel.at];
        const long long at = (2 * static_cast<long long>(blockIdx.z) + component) * size +
                             static_cast<long long>(pixel.y) * batch.level.width + pixel.x;
        if (batch.flow_out) batch.flow_out[at] = value;
        if (batch.codes_out) {
            const float code = rintf(value * (127.0f / 20.0f)) + 128.0f;
            batch.codes_out[at] = static_cast<unsigned char>(smaller(larger(code, 1.0f), 255.0f));
        }
    }
}

}  // namespace kineflow
