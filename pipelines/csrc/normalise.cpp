// Codes of pictures to the floats that a network is given, plane by plane, in one pass over the memory.
//
// A plane is read once and written once, past the caches: a batch is far larger than they are, and a write that goes
// through them reads the memory first. All versions give the same bits: one subtraction, one product, two comparisons
// in float32, not contracted.

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

struct Plane {
    const uint8_t* codes;
    float* values;
    size_t size;
    float mean, scale, low, high;
};

void plain(const Plane& plane, size_t from, size_t to) {
    for (size_t i = from; i < to; ++i) {
        const float value = (static_cast<float>(plane.codes[i]) - plane.mean) * plane.scale;
        const float above = value < plane.low ? plane.low : value;
        plane.values[i] = above > plane.high ? plane.high : above;
    }
}

void baseline(const Plane& plane) { plain(plane, 0, plane.size); }

#if defined(__x86_64__)

// How many values lie before the first one at a multiple of `bytes`, where writes past the caches must begin.
size_t unaligned(const Plane& plane, size_t bytes) {
    const size_t past = reinterpret_cast<uintptr_t>(plane.values) % bytes;
    const size_t count = past ? (bytes - past) / sizeof(float) : 0;
    return count < plane.size ? count : plane.size;
}

__attribute__((target("avx2"))) void avx2(const Plane& plane) {
    const __m256 mean = _mm256_set1_ps(plane.mean), scale = _mm256_set1_ps(plane.scale);
    const __m256 low = _mm256_set1_ps(plane.low), high = _mm256_set1_ps(plane.high);
    size_t i = unaligned(plane, 32);
    plain(plane, 0, i);
    for (; i + 8 <= plane.size; i += 8) {
        const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(plane.codes + i));
        __m256 value = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
        value = _mm256_mul_ps(_mm256_sub_ps(value, mean), scale);
        _mm256_stream_ps(plane.values + i, _mm256_min_ps(_mm256_max_ps(value, low), high));
    }
    plain(plane, i, plane.size);
    _mm_sfence();
}

__attribute__((target("avx512f"))) void avx512(const Plane& plane) {
    const __m512 mean = _mm512_set1_ps(plane.mean), scale = _mm512_set1_ps(plane.scale);
    const __m512 low = _mm512_set1_ps(plane.low), high = _mm512_set1_ps(plane.high);
    size_t i = unaligned(plane, 64);
    plain(plane, 0, i);
    for (; i + 16 <= plane.size; i += 16) {
        const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(plane.codes + i));
        __m512 value = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
        value = _mm512_mul_ps(_mm512_sub_ps(value, mean), scale);
        _mm512_stream_ps(plane.values + i, _mm512_min_ps(_mm512_max_ps(value, low), high));
    }
    plain(plane, i, plane.size);
    _mm_sfence();
}

bool has_avx2() { return __builtin_cpu_supports("avx2"); }
bool has_avx512() { return __builtin_cpu_supports("avx512f"); }

#endif

using Version = void (*)(const Plane&);

// By number, as pipelines/normalise.py names them; null where this processor lacks it.
Version version(int number) {
#if defined(__x86_64__)
    if (number == 2) return has_avx512() ? avx512 : nullptr;
    if (number == 1) return has_avx2() ? avx2 : nullptr;
#endif
    return number == 0 ? baseline : nullptr;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int kineflow_has_version(int number) { return version(number) != nullptr; }

// Plane `from[k]` of `codes` to plane `to[k]` of `values`, for k below `count`; planes have `size` elements.
// Returns 0, or 1 when there is no such version here.
EXPORT int kineflow_normalise(const uint8_t* codes, float* values, size_t count, size_t size, const int64_t* from,
                              const int64_t* to, const float* scale, float mean, float low, float high, int number) {
    const Version normalise = version(number);
    if (!normalise) return 1;
    for (size_t k = 0; k < count; ++k) {
        normalise({codes + from[k] * size, values + to[k] * size, size, mean, scale[k], low, high});
    }
    return 0;
}
