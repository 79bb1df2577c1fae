// TV-L1 between neighbouring frames of a clip, on one thread.

#pragma once

#include "median.h"
#include "tvl1_cpu.h"
#include "warp.h"

namespace kineflow {
namespace KF_ISA {

constexpr int MAX_SCALES = 64;  // as MOST_SCALES in preprocess/flow/params.py
constexpr int MIN_SIDE = 16;  // of the coarsest level

class Solver {
  public:
    // False when there is no memory.
    bool shape(int width, int height, const kineflow_params& params) {
        params_ = params;
        convention_ = params.convention == KINEFLOW_OPENCV_CUDA ? Convention{-0.5f, false} : Convention{-0.75f, true};
        // rounded once, as on the GPU
        most_along_ = float(params.lambda * params.theta / params.tau);
        tau_ = float(params.tau);
        tau_theta_ = float(params.tau / params.theta);
        warp_ = Warp(convention_, tau_);
        take(width, height);
        if (!arena_.allocate()) return false;
        take(width, height);
        return true;
    }

    // Makes `pixels` the second frame; the one before becomes the first.
    void push(const uint8_t* pixels) {
        current_ = 1 - current_;
        const Plane* image = frames_[current_];
        for (int y = 0; y < image[0].height; y++) {
            float* row = image[0].row(y);
            for (int x = 0; x < image[0].width; x++) row[x] = float(*pixels++);
        }
        const double step = 1 / params_.scale_step;
        for (int s = 1; s < scales_; s++) resize(image[s - 1], image[s], step, step, 1, scratch_);
    }

    // Flow of the last two frames, u then v, each width x height; returns the iterations it took.
    int64_t solve(float* flow) {
        const Plane *first = frames_[1 - current_], *second = frames_[current_];
        int64_t iterations = 0;
        for (int s = scales_ - 1; s >= 0; s--) {
            if (s == scales_ - 1) {
                for (Plane* u : {&u1_, &u2_}) u->shape(first[s].width, first[s].height), u->clear();
            } else {
                for (Plane* u : {&u1_, &u2_}) enlarge(*u, first[s]);
            }
            iterations += solve_scale(first[s], second[s]);
        }
        for (const Plane* u : {&u1_, &u2_}) {
            for (int y = 0; y < u->height; y++, flow += u->width) memcpy(flow, u->row(y), 4 * size_t(u->width));
        }
        return iterations;
    }

  private:
    void take(int width, int height) {
        scales_ = 0;
        for (int w = width, h = height; scales_ < params_.scales && scales_ < MAX_SCALES; scales_++) {
            if (scales_ > 0 && (w < MIN_SIDE || h < MIN_SIDE)) break;
            for (auto& frame : frames_) frame[scales_].take(w, h, arena_);
            w = rounded_half_even(w * params_.scale_step);
            h = rounded_half_even(h * params_.scale_step);
        }
        quads_.take(width, height, arena_);
        for (Plane* plane : {&u1_, &u2_, &spare_, &gx_, &gy_, &rest_, &inverse_, &px1_, &py1_, &px2_, &py2_}) {
            plane->take(width, height, arena_);
        }
        scratch_ = arena_.take(resize_scratch(width));
    }

    // The flow of the coarser level, at the size of `image`.
    void enlarge(Plane& u, const Plane& image) {
        spare_.shape(image.width, image.height);
        const double step_x = double(u.width) / image.width, step_y = double(u.height) / image.height;
        resize(u, spare_, step_x, step_y, float(1 / params_.scale_step), scratch_);
        swap(u, spare_);
    }

    // OpenCV's cvRound
    static int rounded_half_even(double x) { return int(__builtin_nearbyint(x)); }

    int solve_scale(const Plane& first, const Plane& second) {
        const int width = first.width, height = first.height;
        quads_.shape(width, height);
        fill_quads(second, quads_, convention_.outside_is_zero);
        for (Plane* plane : {&spare_, &gx_, &gy_, &rest_, &inverse_}) plane->shape(width, height);
        // The dual variables begin at zero, and stay from warp to warp.
        for (Plane* plane : {&px1_, &py1_, &px2_, &py2_}) plane->shape(width, height), plane->clear();
        const double step = params_.epsilon / params_.tau;
        const double enough = step * step * width * height;  // the sum of squared steps, see step_flow
        int iterations = 0;
        bool upwards = false;
        for (int w = 0; w < params_.warps; w++) {
            for (int y = 0; y < height; y++) {
                warp_.row(y, first, quads_, u1_, u2_, gx_.row(y), gy_.row(y), rest_.row(y), inverse_.row(y));
            }
            double change = enough + 1;
            for (int outer = 0; change > enough && outer < params_.outer_iterations; outer++) {
                for (Plane* u : {&u1_, &u2_}) Median::filter(*u, spare_, params_.median);
                for (int inner = 0; change > enough && inner < params_.inner_iterations;) {
                    double latest = 0;
                    const int count = relax(upwards, enough, params_.inner_iterations - inner, latest);
                    upwards = !upwards;
                    inner += count, iterations += count;
                    if (inner % params_.check_every == 0) change = latest;
                }
            }
        }
        return iterations;
    }

    // One iteration over the level, or two where the first cannot be the last; returns how many. `change` is the sum of
    // the squared change of u by the last one.
    //
    // A large level leaves the cache before the next iteration comes to it. So iterations run downwards and upwards in
    // turns, and a second one follows a sixth of the rows behind the first, once these alone have changed by more than
    // `enough`.
    int relax(bool upwards, double enough, int most, double& change) {
        const int height = u1_.height, distance = height / 6 > 3 ? height / 6 : 3;
        Lanes sums[2][BLOCK / LANES] = {};
        int count = 1;
        for (int step = 0; step < height + BEHIND + (count - 1) * distance; step++) {
            if (step == distance && most > 1 && total(sums[0]) > enough) count = 2;
            for (int i = 0; i < count; i++) relax_step(step - i * distance, upwards, sums[i]);
        }
        change = total(sums[count - 1]);
        return count;
    }

    static double total(const Lanes* sums) {
        double sum = 0;
        for (int i = 0; i < BLOCK; i++) sum += sums[i / LANES].v[i % LANES];
        return sum;
    }

    // A row of p needs u of its own row and of the next, both stepped. So p follows u in the same loop, two rows
    // behind: near enough for what the one loads to be at hand for the other, far enough for neither to wait.
    static constexpr int BEHIND = 2;

    void relax_step(int step, bool upwards, Lanes* sums) {
        const int height = u1_.height;
        const int y = upwards ? height - 1 - step : step;
        const int y_dual = upwards ? y + BEHIND : y - BEHIND;
        const bool flow = step < height, dual = step >= BEHIND && step < height + BEHIND;
        if (flow && dual) {
            relax_row<true, true>(y, y_dual, sums);
        } else if (flow) {
            relax_row<true, false>(y, y, sums);
        } else if (dual) {
            relax_row<false, true>(y_dual, y_dual, sums);
        }
    }

    // u of row y and p of row y_dual, or one of them.
    //
    // The step of u stands between the square roots and the division of p, which take long: a processor looks ahead by
    // little more than one turn of this loop.
    template <bool FLOW, bool DUAL>
    __attribute__((noinline)) void relax_row(int y, int y_dual, Lanes* sums) {
        const int width = u1_.width;
        const Lanes most_along = splat(most_along_), tau = splat(tau_), tau_theta = splat(tau_theta_);
        const float *gx = gx_.row(y), *gy = gy_.row(y), *rest = rest_.row(y), *inverse = inverse_.row(y);
        float *x1 = px1_.row(y), *y1 = py1_.row(y), *x2 = px2_.row(y), *y2 = py2_.row(y);
        float *u1 = u1_.row(y), *u2 = u2_.row(y);
        // Offsets from row y, the same in each plane. Below the last row there is no difference.
        const ptrdiff_t stride = u1_.stride, dual = (y_dual - y) * stride;
        const ptrdiff_t below = dual + (y_dual < u1_.height - 1 ? stride : 0);
        Lanes sum[BLOCK / LANES];
        for (int i = 0; i < BLOCK / LANES; i++) sum[i] = sums[i];
        // Unrolled, or the partial sums go through memory.
#pragma GCC unroll 2
        for (int block = 0; block < width; block += BLOCK) {
#pragma GCC unroll 4
            for (int i = 0; i < BLOCK / LANES; i++) {
                const int x = block + i * LANES;
                const ptrdiff_t x_dual = x + dual;
                Slopes<Lanes> slope;
                if (DUAL) {
                    const Lanes here1 = load(u1 + x_dual), here2 = load(u2 + x_dual);
                    slope = slopes(load(u1 + x_dual + 1) - here1, load(u1 + x + below) - here1,
                                   load(u2 + x_dual + 1) - here2, load(u2 + x + below) - here2, tau_theta);
                }
                if (FLOW) {
                    const DataTerm<Lanes> data = {load(gx + x), load(gy + x), load(rest + x), load(inverse + x)};
                    const Lanes div1 = (load(x1 + x) - load(x1 + x - 1)) + (load(y1 + x) - load(y1 + x - stride));
                    const Lanes div2 = (load(x2 + x) - load(x2 + x - 1)) + (load(y2 + x) - load(y2 + x - stride));
                    Lanes here1 = load(u1 + x), here2 = load(u2 + x);
                    const Step<Lanes> step = step_flow(data, div1, div2, most_along, tau, here1, here2);
                    Lanes dx = step.x, dy = step.y;
                    if (x + LANES > width) {
                        const int inside = width - x > 0 ? width - x : 0;
                        dx = first_lanes(dx, inside), dy = first_lanes(dy, inside);
                        here1 = first_lanes(here1, inside), here2 = first_lanes(here2, inside);
                    }
                    store(u1 + x, here1), store(u2 + x, here2);
                    sum[i] = multiply_add(dx, dx, multiply_add(dy, dy, sum[i]));
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
    float most_along_ = 0, tau_ = 0, tau_theta_ = 0;  // lambda theta / tau; tau; tau / theta
    int scales_ = 0, current_ = 0;
    Plane frames_[2][MAX_SCALES];  // finest scale first; made once, second of one pair and first of the next
    Quads quads_;                  // of the second frame, at the level at hand
    Plane u1_, u2_, spare_;
    Plane gx_, gy_, rest_, inverse_;  // the data term
    Plane px1_, py1_, px2_, py2_;     // the dual variables
    float* scratch_ = nullptr;
    Arena arena_;
    Warp warp_;
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
