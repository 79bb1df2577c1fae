// Median filter of 3x3 or 5x5, the nearest pixel taken outside, as OpenCV's medianBlur does.
//
// Sorting networks over lanes. Each column of the window is sorted once, for all the windows that it is part of. Then
// the rows are sorted, after which an element (row, column), counted from 0, is the median only if neither more than 12
// of the 25 are surely below it nor more than 12 surely above: the smaller ones are those up and left of it, the larger
// ones those down and right. That leaves 13 candidates of 25 (3 of 9). What a network computes in vain the compiler
// drops.

#pragma once

#include "planes.h"

namespace kineflow {
namespace KF_ISA {

KF_PIXEL void sort(Lanes& a, Lanes& b) {
    const Lanes low = smaller(a, b);
    b = larger(a, b);
    a = low;
}

KF_PIXEL void sort(Lanes& a, Lanes& b, Lanes& c) {
    sort(a, b), sort(b, c), sort(a, b);
}

// Nine exchanges, the fewest there are for five.
KF_PIXEL void sort(Lanes& a, Lanes& b, Lanes& c, Lanes& d, Lanes& e) {
    sort(a, d), sort(b, e);
    sort(a, c), sort(b, d);
    sort(a, b), sort(c, e);
    sort(b, c), sort(d, e);
    sort(c, d);
}

KF_PIXEL Lanes median_of_sorted_columns(Lanes m[3][3]) {
    for (int r = 0; r < 3; r++) sort(m[r][0], m[r][1], m[r][2]);
    sort(m[0][2], m[1][1], m[2][0]);
    return m[1][1];
}

KF_PIXEL Lanes median_of_sorted_columns(Lanes m[5][5]) {
    for (int r = 0; r < 5; r++) sort(m[r][0], m[r][1], m[r][2], m[r][3], m[r][4]);
    // The shortest network for the 13 candidates that a random search found; right for all 252 patterns of zeros and
    // ones that sorted rows and columns can show, and so (zero-one principle) for all values.
    sort(m[3][1], m[0][3]), sort(m[4][0], m[2][1]), sort(m[2][3], m[1][4]), sort(m[0][4], m[1][2]);
    sort(m[0][3], m[1][3]), sort(m[1][2], m[4][1]), sort(m[0][3], m[3][0]), sort(m[2][1], m[2][3]);
    sort(m[1][2], m[2][2]), sort(m[3][0], m[4][0]), sort(m[1][3], m[2][1]), sort(m[1][3], m[4][0]);
    sort(m[4][0], m[3][2]), sort(m[4][0], m[0][4]), sort(m[2][1], m[1][2]), sort(m[2][3], m[2][2]);
    sort(m[1][3], m[2][1]), sort(m[2][3], m[0][4]), sort(m[2][1], m[2][3]);
    return m[2][3];
}

class Median {
  public:
    void take(int width, Arena& arena) { columns_ = arena.take(5 * row_length(width)); }

    // Filters `plane` with a window of 1, 3 or 5; `spare` is of the same shape, and afterwards what `plane` was.
    void filter(Plane& plane, Plane& spare, int window) {
        if (window == 1) return;
        window == 3 ? filter_rows<3>(plane, spare) : filter_rows<5>(plane, spare);
        swap(plane, spare);
    }

  private:
    static size_t row_length(int width) { return rounded_up(width, BLOCK) + 2 * BLOCK; }

    template <int WINDOW>
    void filter_rows(const Plane& from, const Plane& to) {
        constexpr int REACH = WINDOW / 2;
        const int width = from.width;
        const size_t length = row_length(width);
        for (int y = 0; y < from.height; y++) {
            const float* rows[WINDOW];
            for (int j = 0; j < WINDOW; j++) {
                const int row = y + j - REACH;
                rows[j] = from.row(row < 0 ? 0 : row < from.height ? row : from.height - 1);
            }
            float* columns = columns_ + BLOCK;
            for (int x = 0; x < width; x += LANES) {
                Lanes column[WINDOW];
                for (int j = 0; j < WINDOW; j++) column[j] = load(rows[j] + x);
                if constexpr (WINDOW == 3) {
                    sort(column[0], column[1], column[2]);
                } else {
                    sort(column[0], column[1], column[2], column[3], column[4]);
                }
                for (int j = 0; j < WINDOW; j++) store(columns + j * length + x, column[j]);
            }
            for (int j = 0; j < WINDOW; j++) {
                float* row = columns + j * length;
                for (int i = 1; i <= REACH; i++) row[-i] = row[0], row[width - 1 + i] = row[width - 1];
            }
            float* out = to.row(y);
            for (int x = 0; x < width; x += LANES) {
                Lanes window[WINDOW][WINDOW];
                for (int j = 0; j < WINDOW; j++) {
                    for (int i = 0; i < WINDOW; i++) window[j][i] = load(columns + j * length + x + i - REACH);
                }
                const Lanes middle = median_of_sorted_columns(window);
                store(out + x, x + LANES > width ? first_lanes(middle, width - x) : middle);
            }
        }
    }

    float* columns_ = nullptr;
};

}  // namespace KF_ISA
}  // namespace kineflow
