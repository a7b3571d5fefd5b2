// The product of two vectors of floats in double precision: the same bits on every processor.
#pragma once

#include <cstdint>

#include "vectorize.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace icd {

// Products are exact in double precision; eight partial sums, in the same order on every processor.
ICD_INLINE double dot_body(const float* a, const float* b, int64_t count) {
    Doubles4 even{}, odd{};
    Floats<4> x, y;
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        load<4>(a + i, x);
        load<4>(b + i, y);
        even += __builtin_convertvector(x, Doubles4) * __builtin_convertvector(y, Doubles4);
        load<4>(a + i + 4, x);
        load<4>(b + i + 4, y);
        odd += __builtin_convertvector(x, Doubles4) * __builtin_convertvector(y, Doubles4);
    }
    double rest = 0.0;
    for (; i < count; ++i) rest += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    const Doubles4 sum = even + odd;
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

#if defined(__x86_64__)
// The same sums in the same order; compilers convert vectors of four floats half by half.
ICD_AVX2 inline double dot_avx2(const float* a, const float* b, int64_t count) {
    __m256d even = _mm256_setzero_pd(), odd = _mm256_setzero_pd();
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        even = _mm256_add_pd(even, _mm256_mul_pd(_mm256_cvtps_pd(_mm_loadu_ps(a + i)), _mm256_cvtps_pd(_mm_loadu_ps(b + i))));
        odd = _mm256_add_pd(odd, _mm256_mul_pd(_mm256_cvtps_pd(_mm_loadu_ps(a + i + 4)),
                                               _mm256_cvtps_pd(_mm_loadu_ps(b + i + 4))));
    }
    double rest = 0.0;
    for (; i < count; ++i) rest += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    const __m256d sum = _mm256_add_pd(even, odd);
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}
#else
inline double dot_avx2(const float* a, const float* b, int64_t count) { return dot_body(a, b, count); }
#endif

inline double dot_baseline(const float* a, const float* b, int64_t count) { return dot_body(a, b, count); }

inline double dot(const float* a, const float* b, int64_t count) {
    return use_avx2() ? dot_avx2(a, b, count) : dot_baseline(a, b, count);
}

}  // namespace icd
