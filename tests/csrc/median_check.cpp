// The networks of the median filters, and the filter of the CPU engine.
//
// Zero-one principle: a network of minima and maxima that is right for all zeros and ones is right for all values. With
// the rows sorted there are (window + 1)^window cases.

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#define KF_ISA checked
#include "median.h"

using namespace kineflow;

// A sorted row with so many ones.
template <int N>
void fill(float (&row)[N], int ones) {
    for (int i = 0; i < N; i++) row[i] = i >= N - ones ? 1 : 0;
}

template <int N>
bool sorts_rows() {
    for (int pattern = 0; pattern < 1 << N; pattern++) {
        float row[N];
        for (int i = 0; i < N; i++) row[i] = pattern >> i & 1;
        sort_row(row);
        for (int i = 1; i < N; i++)
            if (row[i - 1] > row[i]) return false;
    }
    return true;
}

bool finds_median_of_9() {
    for (int pattern = 0; pattern < 4 * 4 * 4; pattern++) {
        const int ones[3] = {pattern % 4, pattern / 4 % 4, pattern / 16};
        float rows[3][3];
        for (int i = 0; i < 3; i++) fill(rows[i], ones[i]);
        if (median9(rows[0], rows[1], rows[2]) != (ones[0] + ones[1] + ones[2] > 4 ? 1 : 0)) return false;
    }
    return true;
}

// The median of five rows, the extra one being the first or the last.
bool finds_median_of_25() {
    for (int pattern = 0; pattern < 6 * 6 * 6 * 6 * 6; pattern++) {
        int all = 0, rest = pattern;
        float rows[5][5], upper[10], lower[10], middle[6];
        for (int i = 0; i < 5; i++, rest /= 6) fill(rows[i], rest % 6), all += rest % 6;
        merge5(rows[0], rows[1], upper);
        merge5(rows[2], rows[3], lower);
        for (int i = 1; i < 10; i++)
            if (upper[i - 1] > upper[i] || lower[i - 1] > lower[i]) return false;
        middle6(upper, lower, middle);
        if (sixth(middle, rows[4]) != (all > 12 ? 1 : 0)) return false;
    }
    return true;
}

// The filter beside sorting, on a picture with many equal values.
bool filters(int width, int height, int window) {
    std::mt19937 random(7);
    checked::Arena arena;
    checked::Plane picture, spare;
    const auto take = [&] { picture.take(width, height, arena), spare.take(width, height, arena); };
    take();
    if (!arena.allocate()) return false;
    take();
    std::vector<float> pixels(width * height);
    for (float& pixel : pixels) pixel = random() % 50;
    for (int y = 0; y < height; y++) std::copy_n(&pixels[y * width], width, picture.row(y));
    checked::Median::filter(picture, spare, window);
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            std::vector<float> seen;
            for (int j = -window / 2; j <= window / 2; j++) {
                for (int i = -window / 2; i <= window / 2; i++) {
                    const int row = std::clamp(y + j, 0, height - 1), column = std::clamp(x + i, 0, width - 1);
                    seen.push_back(pixels[row * width + column]);
                }
            }
            std::sort(seen.begin(), seen.end());
            if (picture.row(y)[x] != seen[seen.size() / 2]) return false;
        }
    }
    return true;
}

int main() {
    if (!sorts_rows<3>() || !sorts_rows<5>()) return puts("rows are not sorted"), 1;
    if (!finds_median_of_9() || !finds_median_of_25()) return puts("medians are not found"), 1;
    const int sizes[][2] = {{16, 16}, {17, 33}, {47, 20}, {64, 31}};
    for (const auto& size : sizes) {
        for (const int window : {1, 3, 5}) {
            if (!filters(size[0], size[1], window)) return printf("%dx%d, %d\n", size[0], size[1], window), 1;
        }
    }
    return 0;
}
