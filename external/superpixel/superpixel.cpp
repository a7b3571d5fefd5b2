// Graph-based image segmentation (Felzenszwalb & Huttenlocher, IJCV 59(2), 2004), written from the paper and from a
// description of the behaviour of the ICD authors' tool.
//
// 1. Smooth R, G, B with a Gaussian. 2. Join each pixel with its 8 neighbours; an edge weighs the colour distance.
// 3. By ascending weight w, join the two components of an edge where w <= threshold of both; the new threshold is
//    w + k / size. 4. Again by ascending weight, join where one of the two has fewer than min_size pixels.
//
// Cost: O(n) for a fixed kernel: the 4n edges are sorted by a radix sort (3 passes), the forest costs almost O(1) an
// edge; about 100 bytes a pixel. Arithmetic is single precision in a fixed order: the same labels on every machine.
//
// Edges of equal weight. Published maps took them in the order in which libstdc++'s unstable sort leaves them. Step 3
// does not depend on that order: at weight w a component takes part if its threshold is >= w, this stays so when it is
// joined (w + k / size >= w), hence the result is the connected parts of those components. Step 4 does depend on it, if
// at one weight a component has several neighbours to choose from. Only then the slower Introsort is run.
#include "superpixel.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "introsort.h"

namespace superpixel {
namespace {

using Edges = std::vector<uint64_t>;  // weight (float bits) << 32 | pixel << 2 | direction

float weight_of(uint64_t edge) {
    const uint32_t bits = static_cast<uint32_t>(edge >> 32);
    float weight;
    std::memcpy(&weight, &bits, sizeof weight);
    return weight;
}

// One side of the normalised Gaussian. The argument is squared in float and the exponential taken in double, as the
// published maps were made.
std::vector<float> gaussian(float sigma) {
    const size_t length = static_cast<size_t>(std::ceil(sigma * 4.0f)) + 1;
    std::vector<float> taps(length, 1.0f);
    float sum = 1.0f;
    for (size_t i = 1; i < length; ++i) {
        const float ratio = static_cast<float>(i) / sigma;
        taps[i] = static_cast<float>(std::exp(-0.5 * static_cast<double>(ratio * ratio)));
    }
    float tail = 0.0f;
    for (size_t i = 1; i < length; ++i) tail += taps[i];
    sum = 2.0f * tail + taps[0];
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

// Colour distances between `count` pixels from `a` on and as many from `b` on.
void distances(const std::array<const float*, 3>& planes, int64_t a, int64_t b, int64_t count, uint32_t* bits) {
    for (int64_t x = 0; x < count; ++x) {
        const float r = planes[0][a + x] - planes[0][b + x];
        const float g = planes[1][a + x] - planes[1][b + x];
        const float blue = planes[2][a + x] - planes[2][b + x];
        const float weight = std::sqrt(r * r + g * g + blue * blue);
        std::memcpy(bits + x, &weight, sizeof weight);
    }
}

enum Direction { right, down, down_right, up_right };

// All edges in raster order of their pixel, and for a pixel in the order of `Direction`.
Edges build_edges(const uint8_t* rgb, int64_t height, int64_t width, float sigma) {
    const int64_t count = height * width;
    std::vector<float> smoothed(3 * count), scratch(count);
    const std::vector<float> taps = gaussian(sigma);
    std::array<const float*, 3> planes;
    for (int channel = 0; channel < 3; ++channel) {
        smooth(rgb, channel, height, width, taps, smoothed.data() + channel * count, scratch.data());
        planes[channel] = smoothed.data() + channel * count;
    }
    Edges edges;
    edges.reserve(4 * count);
    std::vector<uint32_t> rows(4 * width);
    uint32_t* bits[4] = {rows.data(), rows.data() + width, rows.data() + 2 * width, rows.data() + 3 * width};
    for (int64_t y = 0; y < height; ++y) {
        const int64_t row = y * width;
        const bool above = y > 0, below = y < height - 1;
        distances(planes, row, row + 1, width - 1, bits[right]);
        if (below) distances(planes, row, row + width, width, bits[down]);
        if (below) distances(planes, row, row + width + 1, width - 1, bits[down_right]);
        if (above) distances(planes, row, row - width + 1, width - 1, bits[up_right]);
        for (int64_t x = 0; x < width; ++x) {
            const uint64_t pixel = static_cast<uint64_t>(row + x) << 2;
            const auto add = [&](Direction d) { edges.push_back(uint64_t{bits[d][x]} << 32 | pixel | d); };
            const bool beside = x < width - 1;
            if (beside) add(right);
            if (below) add(down);
            if (beside && below) add(down_right);
            if (beside && above) add(up_right);
        }
    }
    return edges;
}

// Sort by weight, equal weights in their given order. Bits of floats >= 0 compare like the floats.
void radix_sort(Edges& edges) {
    constexpr int digit = 11, shifts[3] = {32, 43, 54};
    constexpr uint64_t mask = (1u << digit) - 1;
    std::vector<uint32_t> starts(3 << digit);
    for (const uint64_t edge : edges)
        for (int pass = 0; pass < 3; ++pass) ++starts[(pass << digit) + ((edge >> shifts[pass]) & mask)];
    Edges other(edges.size());
    for (int pass = 0; pass < 3; ++pass) {
        uint32_t* start = starts.data() + (pass << digit);
        uint32_t sum = 0;
        for (uint64_t bucket = 0; bucket <= mask; ++bucket) {
            const uint32_t size = start[bucket];
            start[bucket] = sum;
            sum += size;
        }
        for (const uint64_t edge : edges) other[start[(edge >> shifts[pass]) & mask]++] = edge;
        edges.swap(other);
    }
}

// Disjoint sets of pixels; at a root, `link` is minus the size.
class Forest {
  public:
    Forest(int64_t count, int64_t width, float threshold)
        : link_(count, -1), threshold_(count, threshold), step_{1, width, width + 1, 1 - width} {}

    int32_t root(int32_t node) {
        while (link_[node] >= 0) {
            const int32_t next = link_[node];
            if (link_[next] < 0) return next;
            node = link_[node] = link_[next];
        }
        return node;
    }
    int32_t from(uint64_t edge) { return root(pixel(edge)); }
    int32_t to(uint64_t edge) { return root(static_cast<int32_t>(pixel(edge) + step_[edge & 3])); }
    int32_t size(int32_t root) const { return -link_[root]; }
    float& threshold(int32_t root) { return threshold_[root]; }
    int32_t join(int32_t a, int32_t b) {
        if (link_[a] > link_[b]) std::swap(a, b);
        link_[a] += link_[b];
        return link_[b] = a;
    }

  private:
    static int32_t pixel(uint64_t edge) { return static_cast<int32_t>(static_cast<uint32_t>(edge) >> 2); }

    std::vector<int32_t> link_;
    std::vector<float> threshold_;
    std::array<int64_t, 4> step_;
};

// Step 3. Returns the edges at which two components stayed apart, in their order.
Edges join_similar(const Edges& edges, float k, Forest& forest) {
    Edges apart;
    for (const uint64_t edge : edges) {
        const int32_t a = forest.from(edge), b = forest.to(edge);
        if (a == b) continue;
        const float weight = weight_of(edge);
        if (weight <= forest.threshold(a) && weight <= forest.threshold(b)) {
            const int32_t joined = forest.join(a, b);
            forest.threshold(joined) = weight + k / static_cast<float>(forest.size(joined));
        } else {
            apart.push_back(edge);
        }
    }
    return apart;
}

// Step 4, for edges whose order is settled or does not matter.
void join_small(const uint64_t* first, const uint64_t* last, int64_t min_size, Forest& forest) {
    for (; first < last; ++first) {
        const int32_t a = forest.from(*first), b = forest.to(*first);
        if (a != b && (forest.size(a) < min_size || forest.size(b) < min_size)) forest.join(a, b);
    }
}

// True where the result of step 4 on these edges of one weight may depend on their order: a component has two partners.
bool order_matters(const uint64_t* first, const uint64_t* last, int64_t min_size, Forest& forest,
                   std::vector<std::pair<int32_t, int32_t>>& partners) {
    partners.clear();
    for (; first < last; ++first) {
        const int32_t a = forest.from(*first), b = forest.to(*first);
        if (a == b || (forest.size(a) >= min_size && forest.size(b) >= min_size)) continue;
        partners.emplace_back(a, b);
        partners.emplace_back(b, a);
    }
    std::sort(partners.begin(), partners.end());
    for (size_t i = 1; i < partners.size(); ++i)
        if (partners[i].first == partners[i - 1].first && partners[i].second != partners[i - 1].second) return true;
    return false;
}

// Relabel in raster order of first appearance.
int64_t number(Forest& forest, int64_t count, int32_t* labels) {
    std::vector<int32_t> numbers(count, -1);
    int32_t next = 0;
    for (int64_t pixel = 0; pixel < count; ++pixel) {
        int32_t& own = numbers[forest.root(static_cast<int32_t>(pixel))];
        if (own < 0) own = next++;
        labels[pixel] = own;
    }
    return next;
}

}  // namespace

int64_t segment(const uint8_t* rgb, int64_t height, int64_t width, const Parameters& parameters, int32_t* labels) {
    const int64_t count = height * width;
    if (count == 0) return 0;
    Edges edges = build_edges(rgb, height, width, parameters.sigma);
    radix_sort(edges);
    Forest forest(count, width, parameters.k);
    const Edges apart = join_similar(edges, parameters.k, forest);

    std::vector<std::pair<int32_t, int32_t>> partners;
    const uint64_t* const end = apart.data() + apart.size();
    for (const uint64_t* first = apart.data(); first < end;) {
        const uint64_t* last = first + 1;
        while (last < end && *last >> 32 == *first >> 32) ++last;
        if (last - first > 1 && order_matters(first, last, parameters.min_size, forest, partners)) {
            const uint32_t weight = static_cast<uint32_t>(*first >> 32);
            edges = build_edges(rgb, height, width, parameters.sigma);
            Introsort::sort(edges.data(), edges.data() + edges.size());
            const auto lighter = [](uint64_t edge, uint32_t bits) { return edge >> 32 < bits; };
            const auto rest = std::lower_bound(edges.begin(), edges.end(), weight, lighter);
            join_small(&*rest, edges.data() + edges.size(), parameters.min_size, forest);
            break;
        }
        join_small(first, last, parameters.min_size, forest);
        first = last;
    }
    return number(forest, count, labels);
}

}  // namespace superpixel
