// Zero-one principle: a sorting network that is right for all zeros and ones is right for all values. With the columns
// sorted there are (window + 1)^window cases.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define KF_ISA checked
#define KF_LANES 4
#include "median.h"

using namespace kineflow::checked;

template <int WINDOW>
int wrong_patterns(int& patterns) {
    int wrong = 0;
    patterns = 1;
    for (int i = 0; i < WINDOW; i++) patterns *= WINDOW + 1;
    for (int pattern = 0; pattern < patterns; pattern++) {
        Lanes window[WINDOW][WINDOW];
        int ones = 0;
        for (int column = 0, rest = pattern; column < WINDOW; column++, rest /= WINDOW + 1) {
            const int here = rest % (WINDOW + 1);
            ones += here;
            for (int row = 0; row < WINDOW; row++) window[row][column] = splat(row >= WINDOW - here ? 1 : 0);
        }
        const float expected = 2 * ones > WINDOW * WINDOW ? 1 : 0;
        wrong += median_of_sorted_columns(window).v[0] != expected;
    }
    return wrong;
}

// The columns themselves: all zeros and ones of five.
int wrong_columns() {
    int wrong = 0;
    for (int pattern = 0; pattern < 32; pattern++) {
        Lanes column[5];
        for (int i = 0; i < 5; i++) column[i] = splat(pattern >> i & 1);
        sort(column[0], column[1], column[2], column[3], column[4]);
        for (int i = 1; i < 5; i++) wrong += column[i - 1].v[0] > column[i].v[0];
    }
    return wrong;
}

int main() {
    int of3 = 0, of5 = 0;
    const int wrong = wrong_patterns<3>(of3) + wrong_patterns<5>(of5) + wrong_columns();
    printf("3x3: %d patterns, 5x5: %d patterns\n", of3, of5);
    return wrong ? 1 : 0;
}
