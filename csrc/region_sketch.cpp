// Sketches take a quarter of the memory to read, and small whole numbers to multiply, where only few pairs of vectors need the
// exact cosine.
//
// With unit vectors u, v and any centre m:  u v = (u - m)(v - m) + (u m - m m / 2) + (v m - m m / 2).
// A residual u - m is kept as scale * (whole numbers) and the length of what is lost by that; by Cauchy and Schwarz
//     |(u - m)(v - m) - sketch(u) sketch(v)|  <=  lost(u) |v - m| + |sketch(u)| lost(v).
// The centre takes away what all vectors have in common, which keeps the loss small. Sums of whole numbers are exact, so that
// rounding has no part in what is compared.
//
// Rows have numbers within +-127. What is compared with many rows has numbers within +-63, half those of its row, because then
// two products fit into 16 bits; with the few rows that are left after that, a sketch in 16 bits is compared.
#include "region_sketch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "byte_products.h"
#include "vectorize.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace icd {
namespace {

constexpr int zero = 128;
constexpr float unseen = 4e-6f;  // what rounding to single precision may hide

constexpr int64_t lanes = 8;
typedef int Ints __attribute__((vector_size(lanes * sizeof(int))));
typedef double Doubles __attribute__((vector_size(lanes * sizeof(double))));

template <class Vector>
ICD_INLINE auto sum_of(const Vector& vector) {
    auto sum = vector[0];
    for (int64_t l = 1; l < lanes; ++l) sum += vector[l];
    return sum;
}

ICD_INLINE Ints rounded(const Floats<lanes>& values) {
    constexpr float rounder = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to a whole number
    return __builtin_convertvector((values + rounder) - rounder, Ints);
}

template <class Number>
ICD_INLINE void store_as(const Ints& values, Number* to) {
    typedef Number Numbers __attribute__((vector_size(lanes * sizeof(Number))));
    const Numbers numbers = __builtin_convertvector(values, Numbers);
    std::memcpy(to, &numbers, sizeof numbers);
}

// `values`, [width], become factor * values - centre.
struct Totals {
    double along;  // factor * values * centre
    float highest, square;
};
void centre_body(float* values, const float* centre, double factor, int64_t width, Totals* totals) {
    Doubles along{};
    Floats<lanes> value, middle, highest{}, square{};
    for (int64_t c = 0; c < width; c += lanes) {
        load<lanes>(values + c, value);
        load<lanes>(centre + c, middle);
        const Doubles exact = factor * __builtin_convertvector(value, Doubles), m = __builtin_convertvector(middle, Doubles);
        along += exact * m;
        value = __builtin_convertvector(exact - m, Floats<lanes>);
        store<lanes>(value, values + c);
        square += value * value;
        highest = value > highest ? value : highest;
        highest = -value > highest ? -value : highest;
    }
    *totals = {sum_of(along), 0.0f, sum_of(square)};
    for (int64_t l = 0; l < lanes; ++l) totals->highest = std::max(totals->highest, highest[l]);
}

#if defined(__x86_64__)
// Half of the above's lanes, by instructions that compilers do not find.
struct CentredHalf {
    __m256d along;
    __m128 value;
};
ICD_AVX2 inline CentredHalf centred_half(const float* value, const float* middle, __m256d factor, __m256d along) {
    const __m256d exact = _mm256_mul_pd(factor, _mm256_cvtps_pd(_mm_loadu_ps(value)));
    const __m256d m = _mm256_cvtps_pd(_mm_loadu_ps(middle));
    return {_mm256_add_pd(along, _mm256_mul_pd(exact, m)), _mm256_cvtpd_ps(_mm256_sub_pd(exact, m))};
}

ICD_AVX2 void centre_avx2(float* values, const float* centre, double factor, int64_t width, Totals* totals) {
    const __m256d factors = _mm256_set1_pd(factor);
    __m256d low_along = _mm256_setzero_pd(), high_along = _mm256_setzero_pd();
    __m256 highest = _mm256_setzero_ps(), square = _mm256_setzero_ps();
    for (int64_t c = 0; c < width; c += lanes) {
        const CentredHalf low = centred_half(values + c, centre + c, factors, low_along);
        const CentredHalf high = centred_half(values + c + 4, centre + c + 4, factors, high_along);
        low_along = low.along;
        high_along = high.along;
        const __m256 value = _mm256_set_m128(high.value, low.value);
        _mm256_storeu_ps(values + c, value);
        square = _mm256_add_ps(square, _mm256_mul_ps(value, value));
        highest = _mm256_max_ps(highest, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), value));
    }
    double along = 0.0;
    for (int64_t l = 0; l < 4; ++l) along += low_along[l];
    for (int64_t l = 0; l < 4; ++l) along += high_along[l];
    *totals = {along, 0.0f, 0.0f};
    for (int64_t l = 0; l < lanes; ++l) {
        totals->square += square[l];
        totals->highest = std::max(totals->highest, highest[l]);
    }
}
#else
void centre_avx2(float* values, const float* centre, double factor, int64_t width, Totals* totals) {
    centre_body(values, centre, factor, width, totals);
}
#endif

void centre_vectors(float* values, const float* centre, double factor, int64_t width, Totals* totals) {
    (use_avx2() ? centre_avx2 : centre_body)(values, centre, factor, width, totals);
}

// Numbers of values and their halves, and the squares of what is lost by each.
ICD_INLINE void sketch_body(const float* values, float scale, float inverse, int64_t width, uint8_t* numbers, int8_t* halves,
                            float* lost) {
    Floats<lanes> value, by_whole{}, by_half{};
    for (int64_t c = 0; c < width; c += lanes) {
        load<lanes>(values + c, value);
        const Ints number = rounded(value * inverse);
        const Ints half = number / 2;
        store_as<uint8_t>(number + zero, numbers + c);
        store_as<int8_t>(half, halves + c);
        const Floats<lanes> rest = value - scale * __builtin_convertvector(number, Floats<lanes>);
        const Floats<lanes> rest_by_half = value - 2.0f * scale * __builtin_convertvector(half, Floats<lanes>);
        by_whole += rest * rest;
        by_half += rest_by_half * rest_by_half;
    }
    lost[0] = sum_of(by_whole);
    lost[1] = sum_of(by_half);
}
ICD_DISPATCH(sketch,
             (const float* values, float scale, float inverse, int64_t width, uint8_t* numbers, int8_t* halves, float* lost),
             (values, scale, inverse, width, numbers, halves, lost))

ICD_INLINE void fine_sketch_body(const float* values, float scale, float inverse, int64_t width, int16_t* numbers,
                                 float* lost) {
    Floats<lanes> value, sum{};
    for (int64_t c = 0; c < width; c += lanes) {
        load<lanes>(values + c, value);
        const Ints number = rounded(value * inverse);
        store_as<int16_t>(number, numbers + c);
        const Floats<lanes> rest = value - scale * __builtin_convertvector(number, Floats<lanes>);
        sum += rest * rest;
    }
    *lost = sum_of(sum);
}
ICD_DISPATCH(fine_sketch, (const float* values, float scale, float inverse, int64_t width, int16_t* numbers, float* lost),
             (values, scale, inverse, width, numbers, lost))

ICD_INLINE void fine_product_body(const int16_t* x, const uint8_t* y, int64_t width, int32_t* product) {
    int32_t sum = 0;
    for (int64_t c = 0; c < width; ++c) sum += x[c] * static_cast<int16_t>(y[c] - zero);
    *product = sum;
}
ICD_DISPATCH(fine_product, (const int16_t* x, const uint8_t* y, int64_t width, int32_t* product), (x, y, width, product))

float largest(const float* values, int64_t count) {
    float highest[lanes];  // independent, so that this becomes vector code
    std::fill_n(highest, lanes, values[0]);
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes)
        for (int64_t l = 0; l < lanes; ++l) highest[l] = values[i + l] > highest[l] ? values[i + l] : highest[l];
    for (; i < count; ++i) highest[0] = std::max(highest[0], values[i]);
    return *std::max_element(highest, highest + lanes);
}

float inverse_of(float value) { return value > 0.0f ? 1.0f / value : 0.0f; }

}  // namespace

Sketches::Sketches(int64_t count, const std::vector<float>& centre)
    : channels_(static_cast<int64_t>(centre.size())), width_((channels_ + 63) / 64 * 64),
      largest_(limit(127.0, 255.0 * 63.0 / 127.0)), largest_fine_(limit(8191.0, 127.0)), centre_(centre),
      numbers_(count * width_), halves_(count * width_), rows_(count) {
    for (const float c : centre) half_square_ += 0.5 * static_cast<double>(c) * static_cast<double>(c);
    centre_.resize(width_, 0.0f);
}

void Sketches::set(int64_t row, const float* vector, double factor, double level) {
    const Residual found = residual(vector, factor, level);
    const float scale = found.highest / largest_;
    float lost[2];
    sketch(found.values.data(), scale, largest_ * inverse_of(found.highest), width_, numbers_.data() + row * width_,
           halves_.data() + row * width_, lost);
    const int8_t* halves = halves_.data() + row * width_;
    rows_.sum_of_halves[row] = std::accumulate(halves, halves + width_, 0);
    rows_.scale[row] = scale;
    rows_.level[row] = found.level;
    rows_.lost[row] = length_above(lost[0]);
    rows_.lost_by_half[row] = length_above(lost[1]);
    rows_.norm[row] = found.norm + rows_.lost_by_half[row];
}

void Sketches::copy(int64_t from, int64_t to) {
    std::copy_n(numbers_.data() + from * width_, width_, numbers_.data() + to * width_);
    std::copy_n(halves_.data() + from * width_, width_, halves_.data() + to * width_);
    rows_.sum_of_halves[to] = rows_.sum_of_halves[from];
    for (std::vector<float>* values : {&rows_.scale, &rows_.level, &rows_.lost, &rows_.lost_by_half, &rows_.norm})
        (*values)[to] = (*values)[from];
}

Sketches::Fine Sketches::fine(const float* vector, double factor, double level) const {
    const Residual found = residual(vector, factor, level);
    Fine result{std::vector<int16_t>(width_), found.highest / largest_fine_, found.level, 0.0f, found.norm};
    float lost;
    fine_sketch(found.values.data(), result.scale, largest_fine_ * inverse_of(found.highest), width_, result.numbers.data(),
                &lost);
    result.lost = length_above(lost);
    result.norm += result.lost;
    return result;
}

void Sketches::upper_bounds(int64_t first, int queries, int64_t begin, int64_t end, float* upper, float* highest) const {
    const int8_t* halves = halves_.data() + first * width_;
    int32_t found[group * tile];
    const int64_t tiles = tiles_of(end - begin);
    for (int64_t t = 0; t < tiles; ++t) {
        const int64_t from = begin + t * tile, rows = std::min(tile, end - from);
        (queries == 1 ? products<1> : products<group>)(halves, numbers_.data() + from * width_, width_, rows, found);
        for (int q = 0; q < queries; ++q)
            highest[q * tiles + t] = upper_bounds_of_tile(first + q, from, rows, found + q * rows,
                                                          upper + q * (end - begin) + from - begin);
    }
}

void Sketches::exclude(int64_t begin, int64_t end, int64_t count, float* upper, float* highest) {
    std::fill(upper + begin, upper + end, -std::numeric_limits<float>::infinity());
    const int64_t first = begin / tile * tile;
    highest[begin / tile] = largest(upper + first, std::min(tile, count - first));
}

// The highest of the bounds.
float Sketches::upper_bounds_of_tile(int64_t one, int64_t from, int64_t rows, const int32_t* products,
                                     float* upper) const {
    const int32_t shift = zero * rows_.sum_of_halves[one];
    const float scale = 2.0f * rows_.scale[one], level = rows_.level[one] + unseen;
    const float lost = rows_.lost_by_half[one], norm = rows_.norm[one];
    const float *const scales = rows_.scale.data() + from, *const levels = rows_.level.data() + from;
    const float *const norms = rows_.norm.data() + from, *const losts = rows_.lost.data() + from;
    for (int64_t i = 0; i < rows; ++i)
        upper[i] = static_cast<float>(products[i] - shift) * (scale * scales[i]) + (level + levels[i]) +
                   (lost * norms[i] + norm * losts[i]);
    return largest(upper, rows);
}

float Sketches::upper_bound(const Fine& one, int64_t row) const {
    int32_t product;
    fine_product(one.numbers.data(), numbers_.data() + row * width_, width_, &product);
    const float middle = static_cast<float>(product) * (one.scale * rows_.scale[row]) + (one.level + rows_.level[row]);
    return middle + (one.lost * rows_.norm[row] + one.norm * rows_.lost[row] + unseen);
}

// The largest number up to `wanted` whose products with `other` add up to 31 bits in all channels.
float Sketches::limit(double wanted, double other) const {
    return static_cast<float>(std::min(wanted, std::floor(2.1e9 / (other * static_cast<double>(width_)))));
}

// The root of a sum that was taken in single precision, rounded up.
float Sketches::length_above(float square) const {
    return std::sqrt(square * (1.0f + 2e-7f * static_cast<float>(width_))) * (1.0f + 1e-6f) + 1e-6f;
}

Sketches::Residual Sketches::residual(const float* vector, double factor, double level) const {
    std::vector<float> values(width_);
    std::copy_n(vector, channels_, values.begin());
    Totals totals;
    centre_vectors(values.data(), centre_.data(), factor, width_, &totals);
    return {std::move(values), totals.highest, static_cast<float>(totals.along - half_square_ + level),
            length_above(totals.square)};
}

}  // namespace icd
