// The networks of minima and maxima behind 3x3 and 5x5 median filters, shared by the CPU code and the CUDA kernels.
//
// Each row of a window is sorted, once for all windows of a column that it is part of. For 5x5, rows are then merged in
// pairs; two neighbouring medians share four rows, of whose 20 values only the middle six can still be the median of
// either. That takes about 70 minima and maxima a pixel, where 25 values from scratch take 200 or more. Whatever a
// network computes in vain the compiler drops.

#pragma once

#include "tvl1_pixel.h"

namespace kineflow {

template <class F>
KF_PIXEL void order(F& a, F& b) {
    const F low = smaller(a, b);
    b = larger(a, b);
    a = low;
}

template <class F>
KF_PIXEL void sort_row(F (&v)[3]) {
    order(v[0], v[1]);
    order(v[1], v[2]);
    order(v[0], v[1]);
}

// Nine exchanges, the fewest there are for five.
template <class F>
KF_PIXEL void sort_row(F (&v)[5]) {
    order(v[0], v[1]);
    order(v[3], v[4]);
    order(v[2], v[4]);
    order(v[2], v[3]);
    order(v[1], v[4]);
    order(v[0], v[3]);
    order(v[0], v[2]);
    order(v[1], v[3]);
    order(v[1], v[2]);
}

// The median of three sorted rows of three.
template <class F>
KF_PIXEL F median9(const F (&a)[3], const F (&b)[3], const F (&c)[3]) {
    F candidates[3] = {
        larger(a[0], larger(b[0], c[0])),
        larger(smaller(a[1], b[1]), smaller(larger(a[1], b[1]), c[1])),
        smaller(a[2], smaller(b[2], c[2])),
    };
    sort_row(candidates);
    return candidates[1];
}

// Two sorted fives to a sorted ten: Batcher's odd-even merge.
template <class F>
KF_PIXEL void merge5(const F (&a)[5], const F (&b)[5], F (&merged)[10]) {
    F v[10] = {a[0], a[1], a[2], a[3], a[4], b[0], b[1], b[2], b[3], b[4]};
    order(v[0], v[5]);
    order(v[4], v[9]);
    order(v[4], v[5]);
    order(v[2], v[7]);
    order(v[2], v[4]);
    order(v[7], v[5]);
    order(v[1], v[6]);
    order(v[3], v[8]);
    order(v[3], v[6]);
    order(v[1], v[2]);
    order(v[3], v[4]);
    order(v[6], v[7]);
    order(v[8], v[5]);
    const F in_order[10] = {v[0], v[1], v[2], v[3], v[4], v[6], v[7], v[8], v[5], v[9]};
    for (int i = 0; i < 10; ++i) merged[i] = in_order[i];
}

// The middle six, sorted, of two sorted tens.
template <class F>
KF_PIXEL void middle6(const F (&a)[10], const F (&b)[10], F (&middle)[6]) {
    F low[5], high[5];
    for (int i = 0; i < 5; ++i) {
        // Pairing one ascending with the other descending gives the ten smaller and the ten larger ones, each rising
        // and then falling; of such a sequence, halves compared element by element keep their five extremes.
        low[i] = larger(smaller(a[i], b[9 - i]), smaller(a[i + 5], b[4 - i]));
        high[i] = smaller(larger(a[i], b[9 - i]), larger(a[i + 5], b[4 - i]));
    }
    sort_row(low);
    sort_row(high);
    for (int i = 0; i < 3; ++i) {
        middle[i] = low[2 + i];
        middle[3 + i] = high[i];
    }
}

// The median of 25 of which six sorted candidates and a sorted row are left: their sixth smallest of eleven, the
// smallest over the ways to take six of the largest one taken.
template <class F>
KF_PIXEL F sixth(const F (&six)[6], const F (&row)[5]) {
    F median = six[5];
    for (int i = 0; i < 5; ++i) median = smaller(median, larger(six[4 - i], row[i]));
    return median;
}

}  // namespace kineflow
