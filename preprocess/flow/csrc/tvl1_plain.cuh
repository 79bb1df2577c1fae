// One iteration the plain way: a thread a pixel, everything through global memory. What the tiles are tested and
// measured against; works on side 0 of pair `blockIdx.z`, in place.

#pragma once

#include "tvl1_batch.cuh"

namespace kineflow {

// The step of u; writes the square of each pixel's if `flags` has TEST_CHANGE.
KF_KERNEL(plain_flow, 256, 1) {
    const Pixel pixel = pixel_of_thread(batch.level);
    if (!pixel.inside) return;
    const int pair = blockIdx.z;
    const long long plane = batch.level.plane;
    const int stride = batch.level.stride;
    float* u1 = flow_of(batch, 0, pair) + pixel.at;
    float* u2 = u1 + plane;
    const float* p = dual_of(batch, 0, pair) + pixel.at;
    float divergence[2];
    for (int component = 0; component < 2; ++component) {
        const float* x = p + 2 * component * plane;
        const float* y = x + plane;
        divergence[component] = (x[0] - (pixel.x > 0 ? x[-1] : 0.0f)) + (y[0] - (pixel.y > 0 ? y[-stride] : 0.0f));
    }
    const float* data = data_of(batch, pair) + pixel.at;
    const DataTerm<float> term{data[0], data[plane], data[2 * plane], data[3 * plane]};
    const Step<float> step = step_flow(term, divergence[0], divergence[1], batch.most_along, batch.tau, *u1, *u2);
    if (flags & TEST_CHANGE) batch.change[pair * plane + pixel.at] = step.x * step.x + step.y * step.y;
}

// The step of p.
KF_KERNEL(plain_dual, 256, 1) {
    const Pixel pixel = pixel_of_thread(batch.level);
    if (!pixel.inside) return;
    const int pair = blockIdx.z;
    const long long plane = batch.level.plane;
    const float* u1 = flow_of(batch, 0, pair) + pixel.at;
    const float* u2 = u1 + plane;
    float* p = dual_of(batch, 0, pair) + pixel.at;
    const int right = pixel.x + 1 < batch.level.width ? 1 : 0;
    const int below = pixel.y + 1 < batch.level.height ? batch.level.stride : 0;
    Dual<float> dual{p[0], p[plane], p[2 * plane], p[3 * plane]};
    const float x1 = u1[right] - u1[0], y1 = u1[below] - u1[0], x2 = u2[right] - u2[0], y2 = u2[below] - u2[0];
    step_dual(slopes(x1, y1, x2, y2, batch.tau_theta), dual);
    p[0] = dual.x1;
    p[plane] = dual.y1;
    p[2 * plane] = dual.x2;
    p[3 * plane] = dual.y2;
}

}  // namespace kineflow
