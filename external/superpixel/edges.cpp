// Smoothing and edge weights. Cost: O(pixels * taps of the smoothing). Single precision in a fixed order of operations, as the
// published maps were made: smoothing along rows, then along columns; sums over red, green, blue in this order.
#include "edges.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

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

int64_t Graph::edges_between(const icd::Buffer<uint32_t>& components, int32_t first, int32_t last, Edge* edges) const {
    constexpr int64_t group = 8;  // pixels; most groups of a later call have no edge and are passed over at once
    std::vector<uint8_t> wanted(width_ + group);
    Edge* next = edges;
    for (int64_t y = 0; y < height_; ++y)
        for (const Direction direction : directions) {
            const auto [begin, end] = columns_with(direction, y);
            const int32_t* weights = this->weights(direction) + y * width_;
            const uint32_t* here = components.data() + y * width_;
            const uint32_t* there = here + steps_[direction];
            uint8_t* const flags = wanted.data();
            for (int64_t x = begin; x < end; ++x) {  // arithmetic only, which compilers turn into vector code
                const uint32_t in_range = (weights[x] >= first ? 1u : 0u) & (weights[x] <= last ? 1u : 0u);
                flags[x] = static_cast<uint8_t>(in_range & can_join(here[x], there[x]));
            }
            std::fill_n(flags + end, group, uint8_t{0});
            for (int64_t block = begin; block < end; block += group) {
                uint64_t any;
                std::memcpy(&any, flags + block, sizeof any);
                if (any == 0) continue;
                for (int64_t x = block; x < std::min(block + group, end); ++x) {  // without branches
                    *next = static_cast<uint64_t>(weights[x]) << 32 | static_cast<uint64_t>(y * width_ + x) << 2 | direction;
                    next += flags[x];
                }
            }
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
