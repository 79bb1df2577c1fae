// TV-L1 between neighbouring frames of a clip, on one thread.

#pragma once

#include "median.h"
#include "tvl1_cpu.h"
#include "warp.h"

namespace kineflow {
namespace KF_ISA {

constexpr int MAX_SCALES = 16;
constexpr int MIN_SIDE = 16;  // of the coarsest level

// A frame at all scales, finest first; made once, used as second frame of one pair and first of the next.
struct Pyramid {
    Plane image[MAX_SCALES];
    Quads quads[MAX_SCALES];
};

class Solver {
  public:
    // False when there is no memory.
    bool shape(int width, int height, const kineflow_params& params) {
        params_ = params;
        convention_ = params.convention == KINEFLOW_OPENCV_CUDA ? Convention{-0.5f, false} : Convention{-0.75f, true};
        warp_ = Warp(convention_);
        take(width, height);
        if (!arena_.allocate()) return false;
        take(width, height);
        return true;
    }

    // Makes `pixels` the second frame; the one before becomes the first.
    void push(const uint8_t* pixels) {
        current_ = 1 - current_;
        const Pyramid& frame = frames_[current_];
        for (int y = 0; y < frame.image[0].height; y++) {
            float* row = frame.image[0].row(y);
            for (int x = 0; x < frame.image[0].width; x++) row[x] = float(*pixels++);
        }
        const double step = 1 / double(params_.scale_step);
        for (int s = 1; s < scales_; s++) resize(frame.image[s - 1], frame.image[s], step, step, 1, scratch_);
        for (int s = 0; s < scales_; s++) fill_quads(frame.image[s], frame.quads[s], convention_.outside_is_zero);
    }

    // Flow of the last two frames, u then v, each width x height; returns the iterations it took.
    int64_t solve(float* flow) {
        const Pyramid &first = frames_[1 - current_], &second = frames_[current_];
        int64_t iterations = 0;
        int s = scales_ - 1;
        u1_[s].shape(u1_[s].width, u1_[s].height);  // no motion to begin with
        u2_[s].shape(u2_[s].width, u2_[s].height);
        for (;; s--) {
            iterations += solve_scale(first.image[s], second.quads[s], u1_[s], u2_[s]);
            if (s == 0) break;
            const double step_x = double(u1_[s].width) / u1_[s - 1].width;
            const double step_y = double(u1_[s].height) / u1_[s - 1].height;
            resize(u1_[s], u1_[s - 1], step_x, step_y, 1 / params_.scale_step, scratch_);
            resize(u2_[s], u2_[s - 1], step_x, step_y, 1 / params_.scale_step, scratch_);
        }
        for (const Plane* u : {&u1_[0], &u2_[0]}) {
            for (int y = 0; y < u->height; y++, flow += u->width) memcpy(flow, u->row(y), 4 * size_t(u->width));
        }
        return iterations;
    }

  private:
    void take(int width, int height) {
        scales_ = 0;
        for (int w = width, h = height; scales_ < params_.scales && scales_ < MAX_SCALES; scales_++) {
            if (scales_ > 0 && (w < MIN_SIDE || h < MIN_SIDE)) break;
            for (Pyramid& frame : frames_) {
                frame.image[scales_].take(w, h, arena_);
                frame.quads[scales_].take(w, h, arena_);
            }
            u1_[scales_].take(w, h, arena_);
            u2_[scales_].take(w, h, arena_);
            w = rounded_half_even(w * double(params_.scale_step));
            h = rounded_half_even(h * double(params_.scale_step));
        }
        for (Plane* plane : {&gx_, &gy_, &rest_, &inverse_, &px1_, &py1_, &px2_, &py2_, &copy_}) {
            plane->take(width, height, arena_);
        }
        scratch_ = arena_.take(3 * size_t(width) + BLOCK);
        median_.take(width, arena_);
    }

    // OpenCV's cvRound
    static int rounded_half_even(double x) { return int(__builtin_nearbyint(x)); }

    int solve_scale(const Plane& first, const Quads& second, const Plane& u1, const Plane& u2) {
        const int width = first.width, height = first.height;
        for (Plane* plane : {&gx_, &gy_, &rest_, &inverse_, &px1_, &py1_, &px2_, &py2_, &copy_}) {
            plane->shape(width, height);  // the dual variables begin at zero, and stay from warp to warp
        }
        const double enough = double(params_.epsilon) * params_.epsilon * width * height;
        int iterations = 0;
        for (int w = 0; w < params_.warps; w++) {
            for (int y = 0; y < height; y++) {
                warp_.row(y, first, second, u1, u2, gx_.row(y), gy_.row(y), rest_.row(y), inverse_.row(y));
            }
            double change = enough + 1;
            for (int outer = 0; change > enough && outer < params_.outer_iterations; outer++) {
                median_.filter(u1, copy_, params_.median);
                median_.filter(u2, copy_, params_.median);
                for (int inner = 0; change > enough && inner < params_.inner_iterations; inner++, iterations++) {
                    const double latest = relax(u1, u2, iterations % 2);
                    if ((inner + 1) % params_.check_every == 0) change = latest;
                }
            }
        }
        return iterations;
    }

    // One iteration over the level; returns the sum of the squared change of u.
    //
    // A row of p needs u of its own row and of the next, both stepped. So p follows u in the same loop, two rows behind:
    // near enough for what the one loads to be at hand for the other, far enough for neither to wait for the other.
    //
    // Going down and up in turns finds in the cache what was used last, where a level is larger than that.
    double relax(const Plane& u1, const Plane& u2, bool upwards) {
        constexpr int BEHIND = 2;
        Lanes sums[BLOCK / LANES] = {};
        const int height = u1.height;
        for (int step = 0; step < height + BEHIND; step++) {
            const int y = upwards ? height - 1 - step : step;
            const int y_dual = upwards ? y + BEHIND : y - BEHIND;
            const bool flow = step < height, dual = step >= BEHIND;
            if (flow && dual) {
                relax_row<true, true>(y, y_dual, u1, u2, sums);
            } else if (flow) {
                relax_row<true, false>(y, y, u1, u2, sums);
            } else if (dual) {
                relax_row<false, true>(y_dual, y_dual, u1, u2, sums);
            }
        }
        double sum = 0;
        for (int i = 0; i < BLOCK; i++) sum += sums[i / LANES].v[i % LANES];
        return sum;
    }

    // u of row y and p of row y_dual, or one of them.
    //
    // The step of u stands between the square roots and the division of p, which take long: a processor looks ahead by
    // little more than one turn of this loop.
    template <bool FLOW, bool DUAL>
    __attribute__((noinline)) void relax_row(int y, int y_dual, const Plane& u1_plane, const Plane& u2_plane,
                                             Lanes* sums) {
        const int width = u1_plane.width;
        const Lanes lambda_theta = splat(params_.lambda * params_.theta), tau = splat(params_.tau);
        const Lanes tau_theta = splat(params_.tau / params_.theta), one = splat(1);
        const float *gx = gx_.row(y), *gy = gy_.row(y), *rest = rest_.row(y), *inverse = inverse_.row(y);
        float *x1 = px1_.row(y), *y1 = py1_.row(y), *x2 = px2_.row(y), *y2 = py2_.row(y);
        float *u1 = u1_plane.row(y), *u2 = u2_plane.row(y);
        // Offsets from row y, the same in each plane. Below the last row there is no difference.
        const ptrdiff_t stride = u1_plane.stride, dual = (y_dual - y) * stride;
        const ptrdiff_t below = dual + (y_dual < u1_plane.height - 1 ? stride : 0);
        Lanes sum[BLOCK / LANES];
        for (int i = 0; i < BLOCK / LANES; i++) sum[i] = sums[i];
        for (int block = 0; block < width; block += BLOCK) {
#pragma GCC unroll 4  // or the partial sums go through memory
            for (int i = 0; i < BLOCK / LANES; i++) {
                const int x = block + i * LANES;
                const ptrdiff_t x_dual = x + dual;
                Slopes<Lanes> slope;
                if (DUAL) {
                    const Lanes here1 = load(u1 + x_dual), here2 = load(u2 + x_dual);
                    slope = slopes(load(u1 + x_dual + 1) - here1, load(u1 + x + below) - here1,
                                   load(u2 + x_dual + 1) - here2, load(u2 + x + below) - here2, tau_theta, one);
                }
                if (FLOW) {
                    const DataTerm<Lanes> data = {load(gx + x), load(gy + x), load(rest + x), load(inverse + x)};
                    const Lanes div1 = (load(x1 + x) - load(x1 + x - 1)) + (load(y1 + x) - load(y1 + x - stride));
                    const Lanes div2 = (load(x2 + x) - load(x2 + x - 1)) + (load(y2 + x) - load(y2 + x - stride));
                    Lanes here1 = load(u1 + x), here2 = load(u2 + x);
                    Lanes change = step_flow(data, div1, div2, lambda_theta, tau, here1, here2);
                    if (x + LANES > width) {
                        const int inside = width - x > 0 ? width - x : 0;
                        change = first_lanes(change, inside);
                        here1 = first_lanes(here1, inside), here2 = first_lanes(here2, inside);
                    }
                    store(u1 + x, here1), store(u2 + x, here2);
                    sum[i] = sum[i] + change;
                }
                if (DUAL) {
                    Dual<Lanes> p = {load(x1 + x_dual), load(y1 + x_dual), load(x2 + x_dual), load(y2 + x_dual)};
                    step_dual(slope, p);
                    store(x1 + x_dual, p.x1), store(y1 + x_dual, p.y1);
                    store(x2 + x_dual, p.x2), store(y2 + x_dual, p.y2);
                }
            }
        }
        if (FLOW) {
            u1[width] = u1[width - 1], u2[width] = u2[width - 1];  // no difference beyond the last column
            for (int i = 0; i < BLOCK / LANES; i++) sums[i] = sum[i];
        }
    }

    kineflow_params params_{};
    Convention convention_{};
    int scales_ = 0, current_ = 0;
    Pyramid frames_[2];
    Plane u1_[MAX_SCALES], u2_[MAX_SCALES];
    Plane gx_, gy_, rest_, inverse_;      // the data term
    Plane px1_, py1_, px2_, py2_, copy_;  // the dual variables, and a plane for the median filter
    float* scratch_ = nullptr;
    Arena arena_;
    Warp warp_;
    Median median_;
};

// Pairs first to last - 1 of a clip of `width` x `height` frames.
inline int solve_pairs(const uint8_t* frames, int width, int height, int first, int last, const kineflow_params* params,
                       float* flow, int64_t* iterations) {
    const size_t pixels = size_t(width) * height;
    Solver* solver = new Solver;
    const bool fits = solver->shape(width, height, *params);
    if (fits) {
        solver->push(frames + first * pixels);
        for (int pair = first; pair < last; pair++) {
            solver->push(frames + (pair + 1) * pixels);
            const int64_t count = solver->solve(flow + 2 * pair * pixels);
            if (iterations) iterations[pair] = count;
        }
    }
    delete solver;
    return fits ? KINEFLOW_OK : KINEFLOW_NO_MEMORY;
}

}  // namespace KF_ISA
}  // namespace kineflow
