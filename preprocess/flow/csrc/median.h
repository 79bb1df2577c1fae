// Median filter of 3x3 or 5x5, the nearest pixel taken outside, as OpenCV's medianBlur does.

#pragma once

#include "planes.h"
#include "tvl1_median.h"

namespace kineflow {
namespace KF_ISA {

class Median {
  public:
    // Filters `plane` with a window of 1, 3 or 5; `spare` is of the same shape, and afterwards what `plane` was.
    static void filter(Plane& plane, Plane& spare, int window) {
        if (window == 1) return;
        repeat_edges(plane, window / 2);
        const Median median(plane, spare);
        for (int x = 0; x < plane.width; x += BLOCK) window == 3 ? median.columns3(x) : median.columns5(x);
        swap(plane, spare);
    }

  private:
    Median(const Plane& from, const Plane& to) : from_(from), to_(to) {}

    static void repeat_edges(const Plane& plane, int reach) {
        for (int y = 0; y < plane.height; y++) {
            float* row = plane.row(y);
            for (int i = 1; i <= reach; i++) row[-i] = row[0], row[plane.width - 1 + i] = row[plane.width - 1];
        }
    }

    // A row of a window, sorted.
    template <int N>
    struct Row {
        Lanes at[N];
    };

    template <int WINDOW>
    Row<WINDOW> read(int x, int y) const {
        const float* from = from_.row(y < 0 ? 0 : y < from_.height ? y : from_.height - 1) + x - WINDOW / 2;
        Row<WINDOW> row;
        for (int i = 0; i < WINDOW; i++) row.at[i] = load(from + i);
        sort_row(row.at);
        return row;
    }

    void write(int x, int y, Lanes median) const {
        if (y < to_.height) store(to_.row(y) + x, median);
    }

    // BLOCK columns from x on, from top to bottom, so that what rows have in common stays at hand: STRIPS of LANES side
    // by side, which do not wait for each other.
    static constexpr int STRIPS = BLOCK / LANES;

    void columns3(int x) const {
        Row<3> above[STRIPS], here[STRIPS];
        for (int i = 0; i < STRIPS; i++) above[i] = here[i] = read<3>(x + i * LANES, 0);
        for (int y = 0; y < from_.height; y++) {
            for (int i = 0; i < STRIPS; i++) {
                const Row<3> below = read<3>(x + i * LANES, y + 1);
                write(x + i * LANES, y, median9(above[i].at, here[i].at, below.at));
                above[i] = here[i], here[i] = below;
            }
        }
    }

    // Two rows at a time, y and y + 1.
    void columns5(int x) const {
        Row<5> above2[STRIPS], here[STRIPS], below[STRIPS];
        Row<10> upper[STRIPS];  // rows y - 1 and y
        for (int i = 0; i < STRIPS; i++) {
            above2[i] = here[i] = read<5>(x + i * LANES, 0);
            below[i] = read<5>(x + i * LANES, 1);
            merge5(here[i].at, here[i].at, upper[i].at);
        }
        for (int y = 0; y < from_.height; y += 2) {
            for (int i = 0; i < STRIPS; i++) {
                const Row<5> below2 = read<5>(x + i * LANES, y + 2), below3 = read<5>(x + i * LANES, y + 3);
                Row<10> lower;  // rows y + 1 and y + 2
                merge5(below[i].at, below2.at, lower.at);
                Row<6> middle;
                middle6(upper[i].at, lower.at, middle.at);
                write(x + i * LANES, y, sixth(middle.at, above2[i].at));
                write(x + i * LANES, y + 1, sixth(middle.at, below3.at));
                above2[i] = here[i], here[i] = below2, below[i] = below3, upper[i] = lower;
            }
        }
    }

    const Plane from_, to_;
};

}  // namespace KF_ISA
}  // namespace kineflow
