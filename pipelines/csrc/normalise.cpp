// Codes of decoded pictures to what a network is given: cut, mirrored, one plane a channel, as floats; in one pass.
//
// Each code is read once and each float written once, past the caches where rows allow it: a batch is far larger than
// they are, and a write that goes through them reads the memory first. All versions give the same bits: one
// subtraction, one product, two comparisons in float32, not contracted.

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

// Most channels of a picture whose channels lie side by side.
constexpr size_t kInterleaved = 3;

struct Range {
    float mean, low, high;
};

// One row of one channel, or of all where they lie side by side.
struct Row {
    const uint8_t* codes;         // of the leftmost pixel
    float* values[kInterleaved];  // where each channel goes
    float scale[kInterleaved];
    size_t size;
};

template <size_t kChannels, bool kMirror>
void plain(const Row& row, const Range& range) {
    for (size_t x = 0; x < row.size; ++x) {
        const uint8_t* pixel = row.codes + kChannels * (kMirror ? row.size - 1 - x : x);
        for (size_t channel = 0; channel < kChannels; ++channel) {
            const float value = (static_cast<float>(pixel[channel]) - range.mean) * row.scale[channel];
            const float above = value < range.low ? range.low : value;
            row.values[channel][x] = above > range.high ? range.high : above;
        }
    }
}

struct Baseline {
    static bool is_here() { return true; }

    template <size_t kChannels, bool kMirror>
    static void convert(const Row& row, const Range& range) {
        plain<kChannels, kMirror>(row, range);
    }
};

#if defined(__x86_64__)

constexpr size_t kPixels = 16;  // that a vector version takes at a time

// Bytes ahead that are asked for: codes were decoded on another core, and come from its cache.
constexpr size_t kAhead = 2048;

// By channel and third of 48 bytes of interleaved pixels: which byte of that third each of 16 codes is, or none.
template <bool kMirror>
struct Picks {
    alignas(16) uint8_t of[kInterleaved][kInterleaved][kPixels];

    constexpr Picks() : of() {
        for (size_t channel = 0; channel < kInterleaved; ++channel)
            for (size_t third = 0; third < kInterleaved; ++third)
                for (size_t i = 0; i < kPixels; ++i) {
                    const size_t byte = kInterleaved * (kMirror ? kPixels - 1 - i : i) + channel;
                    of[channel][third][i] = byte / 16 == third ? byte % 16 : 0x80;
                }
    }
};

template <bool kMirror>
constexpr Picks<kMirror> kPicks{};

#define INLINE(set) __attribute__((target(set), always_inline)) static inline

// The codes of each channel of 16 pixels, in the order in which they are written.
template <size_t kChannels, bool kMirror>
INLINE("ssse3") void load(const uint8_t* pixels, __m128i codes[kChannels]) {
    const __m128i* thirds = reinterpret_cast<const __m128i*>(pixels);
    if constexpr (kChannels == 1) {
        codes[0] = _mm_loadu_si128(thirds);
        if (kMirror) {
            codes[0] = _mm_shuffle_epi8(codes[0], _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
        }
    } else {
        for (size_t channel = 0; channel < kChannels; ++channel) {
            const __m128i* picks = reinterpret_cast<const __m128i*>(kPicks<kMirror>.of[channel]);
            codes[channel] = _mm_setzero_si128();
            for (size_t third = 0; third < kInterleaved; ++third) {
                const __m128i picked = _mm_shuffle_epi8(_mm_loadu_si128(thirds + third), _mm_load_si128(picks + third));
                codes[channel] = _mm_or_si128(codes[channel], picked);
            }
        }
    }
}

bool is_streamed(const float* values, size_t size) {
    return reinterpret_cast<uintptr_t>(values) % 64 == 0 && size % kPixels == 0;
}

// A row in steps of 16 pixels; the last step may begin again on what the one before it has written. A macro, because
// no template can be told an instruction set.
#define CONVERT(set)                                                                                         \
    template <size_t kChannels, bool kMirror>                                                                \
    __attribute__((target(set))) static void convert(const Row& row, const Range& range) {                   \
        if (row.size < kPixels) return plain<kChannels, kMirror>(row, range);                                \
        bool streams = true;                                                                                 \
        for (size_t c = 0; c < kChannels; ++c) streams &= is_streamed(row.values[c], row.size);              \
        for (size_t next = 0; next < row.size; next += kPixels) {                                            \
            const size_t x = next + kPixels <= row.size ? next : row.size - kPixels;                         \
            _mm_prefetch(reinterpret_cast<const char*>(row.codes + kChannels * x + kAhead), _MM_HINT_T0);    \
            __m128i codes[kChannels];                                                                        \
            load<kChannels, kMirror>(row.codes + kChannels * (kMirror ? row.size - kPixels - x : x), codes); \
            for (size_t c = 0; c < kChannels; ++c)                                                           \
                store(codes[c], row.values[c] + x, row.scale[c], range, streams);                            \
        }                                                                                                    \
    }

struct Avx2 {
    static bool is_here() { return __builtin_cpu_supports("avx2"); }

    INLINE("avx2") void half(__m128i codes, float* values, float scale, const Range& range, bool streams) {
        __m256 value = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
        value = _mm256_mul_ps(_mm256_sub_ps(value, _mm256_set1_ps(range.mean)), _mm256_set1_ps(scale));
        value = _mm256_min_ps(_mm256_max_ps(value, _mm256_set1_ps(range.low)), _mm256_set1_ps(range.high));
        streams ? _mm256_stream_ps(values, value) : _mm256_storeu_ps(values, value);
    }

    INLINE("avx2") void store(__m128i codes, float* values, float scale, const Range& range, bool streams) {
        half(codes, values, scale, range, streams);
        half(_mm_srli_si128(codes, 8), values + 8, scale, range, streams);
    }

    CONVERT("avx2")
};

struct Avx512 {
    static bool is_here() { return __builtin_cpu_supports("avx512f"); }

    INLINE("avx512f") void store(__m128i codes, float* values, float scale, const Range& range, bool streams) {
        __m512 value = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
        value = _mm512_mul_ps(_mm512_sub_ps(value, _mm512_set1_ps(range.mean)), _mm512_set1_ps(scale));
        value = _mm512_min_ps(_mm512_max_ps(value, _mm512_set1_ps(range.low)), _mm512_set1_ps(range.high));
        streams ? _mm512_stream_ps(values, value) : _mm512_storeu_ps(values, value);
    }

    CONVERT("avx512f")
};

#endif

// Where a picture's numbers lie: bytes from one picture, channel, row and pixel to the next.
struct Strides {
    ptrdiff_t picture, channel, row, pixel;
};

struct Job {
    const uint8_t* codes;  // of the cut's corner in the first picture
    Strides strides;
    float* values;  // [channels, frames, side, side]
    size_t channels, frames, side;
    const int64_t* picture;  // of each frame
    const float* scale;      // of each channel
    Range range;
};

template <typename Version, size_t kChannels, bool kMirror>
void convert(const Job& job) {
    const size_t plane = job.side * job.side;
    for (size_t frame = 0; frame < job.frames; ++frame) {
        for (size_t first = 0; first < job.channels; first += kChannels) {
            Row row{};
            row.size = job.side;
            for (size_t c = 0; c < kChannels; ++c) row.scale[c] = job.scale[first + c];
            for (size_t y = 0; y < job.side; ++y) {
                row.codes = job.codes + job.picture[frame] * job.strides.picture +
                            static_cast<ptrdiff_t>(first) * job.strides.channel +
                            static_cast<ptrdiff_t>(y) * job.strides.row;
                for (size_t c = 0; c < kChannels; ++c) {
                    row.values[c] = job.values + ((first + c) * job.frames + frame) * plane + y * job.side;
                }
                Version::template convert<kChannels, kMirror>(row, job.range);
            }
        }
    }
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

template <typename Version>
void convert(const Job& job, bool mirror) {
    if (job.strides.pixel == 1) {
        mirror ? convert<Version, 1, true>(job) : convert<Version, 1, false>(job);
    } else {
        mirror ? convert<Version, kInterleaved, true>(job) : convert<Version, kInterleaved, false>(job);
    }
}

using Run = void (*)(const Job&, bool);

// By number, as pipelines/normalise.py names them; null where this processor lacks it.
Run version(int number) {
#if defined(__x86_64__)
    if (number == 2) return Avx512::is_here() ? convert<Avx512> : nullptr;
    if (number == 1) return Avx2::is_here() ? convert<Avx2> : nullptr;
#endif
    return number == 0 ? convert<Baseline> : nullptr;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int kineflow_has_version(int number) { return version(number) != nullptr; }

// Frame t of `values`, [channels, frames, side, side], from picture[t] of `codes`, which begin at the cut's corner.
// Channels lie apart (strides[3] is 1), or there are 3 of them side by side (strides[1] is 1, strides[3] is 3).
// Returns 0, or 1 when there is no such version here.
EXPORT int kineflow_normalise(const uint8_t* codes, const ptrdiff_t* strides, float* values, size_t channels,
                              size_t frames, size_t side, const int64_t* picture, int mirror, const float* scale,
                              float mean, float low, float high, int number) {
    const Run run = version(number);
    if (!run) return 1;
    const Strides bytes{strides[0], strides[1], strides[2], strides[3]};
    run({codes, bytes, values, channels, frames, side, picture, scale, {mean, low, high}}, mirror != 0);
    return 0;
}
