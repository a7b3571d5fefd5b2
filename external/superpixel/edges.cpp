// Smoothing and edge weights. Cost: O(pixels * taps of the smoothing). Single precision in a fixed order of operations, as the
// published maps were made: smoothing along rows, then along columns; sums over red, green, blue in this order.
#include "edges.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "vectorize.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace superpixel {
namespace {

constexpr Direction directions[4] = {right, down, down_right, up_right};

// One side of the normalised Gaussian. The argument is squared in float and the exponential taken in double.
std::vector<float> gaussian(float sigma) {
    std::vector<float> taps(static_cast<size_t>(std::ceil(sigma * 4.0f)) + 1, 1.0f);
    float tail = 0.0f;
    for (size_t i = 1; i < taps.size(); ++i) {
        const float ratio = static_cast<float>(i) / sigma;
        taps[i] = static_cast<float>(std::exp(-0.5 * static_cast<double>(ratio * ratio)));
        tail += taps[i];
    }
    const float sum = 2.0f * tail + taps[0];
    for (float& tap : taps) tap /= sum;
    return taps;
}

// out = taps[0] * in + sum over i of taps[i] * (in(-i) + in(+i)), the terms added in this order. before(i) and after(i)
// give the row of values i places before and after.
template <class Before, class After>
void accumulate(const std::vector<float>& taps, int64_t width, const float* centre, Before before, After after,
                float* out) {
    for (int64_t x = 0; x < width; ++x) out[x] = taps[0] * centre[x];
    for (size_t i = 1; i < taps.size(); ++i) {
        const float tap = taps[i];
        const float* left = before(static_cast<int64_t>(i));
        const float* right = after(static_cast<int64_t>(i));
        for (int64_t x = 0; x < width; ++x) out[x] += tap * (left[x] + right[x]);
    }
}

// Channel `channel` of the picture, smoothed along rows, then along columns; the border value goes on outside.
void smooth(const uint8_t* rgb, int channel, int64_t height, int64_t width, const std::vector<float>& taps,
            float* plane, float* scratch) {
    const int64_t reach = static_cast<int64_t>(taps.size()) - 1;
    std::vector<float> row(width + 2 * reach);
    for (int64_t y = 0; y < height; ++y) {
        for (int64_t x = 0; x < width; ++x) row[reach + x] = rgb[3 * (y * width + x) + channel];
        std::fill_n(row.begin(), reach, row[reach]);
        std::fill_n(row.end() - reach, reach, row[reach + width - 1]);
        const float* centre = row.data() + reach;
        accumulate(
            taps, width, centre, [&](int64_t i) { return centre - i; }, [&](int64_t i) { return centre + i; },
            scratch + y * width);
    }
    for (int64_t y = 0; y < height; ++y) {
        accumulate(
            taps, width, scratch + y * width,
            [&](int64_t i) { return scratch + std::max<int64_t>(y - i, 0) * width; },
            [&](int64_t i) { return scratch + std::min(y + i, height - 1) * width; }, plane + y * width);
    }
}

// Colour distances between the `count` pixels from `a` on and as many from `b` on.
void distances(const std::array<const float*, 3>& planes, int64_t a, int64_t b, int64_t count, int32_t* bits) {
    for (int64_t i = 0; i < count; ++i) {
        const float red = planes[0][a + i] - planes[0][b + i];
        const float green = planes[1][a + i] - planes[1][b + i];
        const float blue = planes[2][a + i] - planes[2][b + i];
        const float weight = std::sqrt(red * red + green * green + blue * blue);
        std::memcpy(bits + i, &weight, sizeof weight);
    }
}

// Edges in one direction from neighbouring pixels of a row, and the weights that are wanted.
struct Run {
    const int32_t* weights;
    const uint32_t *here, *there;  // components
    int64_t count;
    int32_t first, last;
    uint32_t number;  // the lower half of the first edge; that of the next one is 4 more

    uint8_t wanted(int64_t x) const {
        return (weights[x] >= first ? 1u : 0u) & (weights[x] <= last ? 1u : 0u) & can_join(here[x], there[x]);
    }
    Edge edge(int64_t x) const { return static_cast<uint64_t>(weights[x]) << 32 | (number + 4 * static_cast<uint32_t>(x)); }
};

constexpr int64_t group = 8;  // edges looked at together; most groups of a later call have none to append

// Append the wanted edges of a run from x on; x is where to go on, and there is room for all.
Edge* append(const Run& run, int64_t& x, Edge* next) {
    constexpr int64_t chunk = 256;
    std::array<uint8_t, chunk> flags;
    for (; x < run.count; x += chunk) {
        const int64_t size = std::min(chunk, run.count - x);
        for (int64_t i = 0; i < size; ++i) flags[i] = run.wanted(x + i);  // arithmetic only, which becomes vector code
        std::fill(flags.begin() + size, flags.end(), uint8_t{0});
        for (int64_t begin = 0; begin < size; begin += group) {
            uint64_t any;
            std::memcpy(&any, flags.data() + begin, sizeof any);
            if (any == 0) continue;
            for (int64_t i = begin; i < std::min(begin + group, size); ++i) {  // without branches
                *next = run.edge(x + i);
                next += flags[i];
            }
        }
    }
    return next;
}

#if defined(__x86_64__)
// For each set of lanes their numbers, a byte each.
constexpr std::array<uint64_t, 256> lanes_of_sets() {
    std::array<uint64_t, 256> table{};
    for (uint64_t set = 0; set < 256; ++set)
        for (uint64_t lane = 0, place = 0; lane < 8; ++lane)
            if (set >> lane & 1) table[set] |= lane << 8 * place++;
    return table;
}
constexpr std::array<uint64_t, 256> lanes_of = lanes_of_sets();

ICD_AVX2 inline __m256i load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

// The same for whole groups.
ICD_AVX2 Edge* append_avx2(const Run& run, int64_t& x, Edge* next) {
    const __m256i first = _mm256_set1_epi32(run.first), last = _mm256_set1_epi32(run.last);
    const __m256i steps = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    for (; x + group <= run.count; x += group) {
        const __m256i weights = load(run.weights + x);
        const __m256i a = load(run.here + x), b = load(run.there + x);
        const __m256i outside = _mm256_or_si256(_mm256_cmpgt_epi32(first, weights), _mm256_cmpgt_epi32(weights, last));
        const __m256i done = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_srli_epi32(_mm256_and_si256(a, b), 1));
        const __m256i same = _mm256_cmpeq_epi32(a, b);
        const __m256i useless = _mm256_or_si256(_mm256_or_si256(outside, same), _mm256_slli_epi32(done, 31));
        const int set = ~_mm256_movemask_ps(_mm256_castsi256_ps(useless)) & 255;
        if (set == 0) continue;
        const __m256i lanes = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(lanes_of[set])));
        const __m256i numbers = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int32_t>(run.number + 4 * x)), steps);
        const __m256i high = _mm256_permutevar8x32_epi32(weights, lanes), low = _mm256_permutevar8x32_epi32(numbers, lanes);
        const __m256i even = _mm256_unpacklo_epi32(low, high), odd = _mm256_unpackhi_epi32(low, high);
        __m256i* const to = reinterpret_cast<__m256i*>(next);
        _mm256_storeu_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
        _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
        next += __builtin_popcount(static_cast<unsigned>(set));
    }
    return next;
}
#endif

}  // namespace

Graph::Graph(const uint8_t* rgb, int64_t height, int64_t width, float sigma)
    : height_(height), width_(width), steps_{1, width, width + 1, 1 - width}, weights_(4 * height * width) {
    const int64_t count = height * width;
    icd::Buffer<float> planes_and_scratch(4 * count);
    const std::vector<float> taps = gaussian(sigma);
    float* const scratch = planes_and_scratch.data() + 3 * count;
    std::array<const float*, 3> planes;
    for (int channel = 0; channel < 3; ++channel) {
        float* const plane = planes_and_scratch.data() + channel * count;
        smooth(rgb, channel, height, width, taps, plane, scratch);
        planes[channel] = plane;
    }
    for (const Direction direction : directions) {
        int32_t* const weights = weights_.data() + direction * count;
        for (int64_t y = 0; y < height; ++y) {
            const auto [begin, end] = columns_with(direction, y);
            const int64_t first = y * width + begin;
            distances(planes, first, first + steps_[direction], end - begin, weights + first);
        }
    }
}

Graph::Columns Graph::columns_with(Direction direction, int64_t y) const {
    const bool up = direction == up_right, level = direction == right;
    if (!level && (up ? y == 0 : y == height_ - 1)) return {0, 0};
    return {0, direction == down ? width_ : width_ - 1};
}

std::vector<Edge> Graph::all_edges() const {
    std::vector<Edge> edges;
    edges.reserve(4 * height_ * width_);
    for (int64_t y = 0; y < height_; ++y)
        for (int64_t x = 0; x < width_; ++x) {
            const uint64_t pixel = static_cast<uint64_t>(y * width_ + x);
            for (const Direction direction : directions)
                if (x < columns_with(direction, y).end)
                    edges.push_back(static_cast<uint64_t>(weights(direction)[pixel]) << 32 | pixel << 2 | direction);
        }
    return edges;
}

int64_t Graph::edges_between(const uint32_t* components, int32_t first, int32_t last, Edge* edges) const {
    Edge* next = edges;
    for (int64_t y = 0; y < height_; ++y)
        for (const Direction direction : directions) {
            const auto [begin, end] = columns_with(direction, y);
            const int64_t pixel = y * width_;
            const Run run{weights(direction) + pixel, components + pixel, components + pixel + steps_[direction], end,
                          first, last, static_cast<uint32_t>(pixel << 2 | direction)};
            int64_t x = begin;
#if defined(__x86_64__)
            if (icd::use_avx2()) next = append_avx2(run, x, next);
#endif
            next = append(run, x, next);
        }
    return next - edges;
}

int32_t Graph::quantile(double fraction) const {
    constexpr size_t samples = 4096;
    std::vector<int32_t> sample;
    const size_t count = static_cast<size_t>(height_ * width_), stride = count / samples + 1;
    for (size_t pixel = 0; pixel < count; pixel += stride) sample.push_back(weights(down)[pixel]);
    const auto place = sample.begin() + static_cast<ptrdiff_t>(fraction * static_cast<double>(sample.size() - 1));
    std::nth_element(sample.begin(), place, sample.end());
    return *place;
}

int32_t Graph::highest() {
    constexpr float limit = 442.0f;  // above sqrt(3) * 255; smoothing does not leave 0..255 by more than rounding
    int32_t bits;
    std::memcpy(&bits, &limit, sizeof bits);
    return bits;
}

}  // namespace superpixel
