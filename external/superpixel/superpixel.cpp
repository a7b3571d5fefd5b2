// Graph-based image segmentation (Felzenszwalb & Huttenlocher, IJCV 59(2), 2004), written from the paper and from a
// description of the behaviour of the ICD authors' tool.
//
// 1. Smooth R, G, B with a Gaussian. 2. Join each pixel with its 8 neighbours; an edge weighs the colour distance.
// 3. By ascending weight w, join the two components of an edge where w <= threshold of both; the new threshold is
//    w + k / size. 4. Again by ascending weight, join where one of the two has fewer than min_size pixels.
//
// Step 3 looks at the edges in a few groups of ascending weight. When the light ones have been joined, most heavier ones lie
// inside a component or touch one that is closed: its threshold is below all remaining weights. One linear pass drops these
// before they are sorted. In the same way step 4 sorts only edges between two components not both of which are large.
//
// Cost: O(n) for a fixed kernel: radix sorts, and a forest at O(log n) an edge in the worst case, in practice a few reads;
// about 100 bytes a pixel. Arithmetic is single precision in a fixed order: the same labels on every machine.
//
// Edges of equal weight. Published maps took them in the order in which libstdc++'s unstable sort leaves them. Step 3
// does not depend on that order: at weight w a component takes part if its threshold is >= w, this stays so when it is
// joined (w + k / size >= w), hence the result is the connected parts of those components. Step 4 does depend on it, if
// at one weight a component has several neighbours to choose from. Only then the slower Introsort is run.
#include "superpixel.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "edges.h"
#include "forest.h"
#include "introsort.h"
#include "memory.h"

namespace superpixel {
namespace {

// Sort edges whose weight bits lie in first..last by counting, digit after digit. `other` has room for as many edges; the
// result is in the array returned.
Edge* radix_sort(Edge* edges, Edge* other, int64_t count, int32_t first, int32_t last) {
    constexpr int longest = 12;
    int bits = 0;
    while ((last - first) >> bits > 0) ++bits;  // at most 31
    const int passes = (bits + longest - 1) / longest;
    if (passes == 0) return edges;
    const int digit = (bits + passes - 1) / passes;
    const uint64_t base = static_cast<uint64_t>(first) << 32, mask = (uint64_t{1} << digit) - 1;
    std::array<std::array<uint32_t, 1 << longest>, 3> start;
    for (int pass = 0; pass < passes; ++pass) std::fill_n(start[pass].begin(), mask + 1, 0u);
    for (int64_t i = 0; i < count; ++i)
        for (int pass = 0; pass < passes; ++pass) ++start[pass][(edges[i] - base) >> (32 + pass * digit) & mask];
    for (int pass = 0; pass < passes; ++pass) {
        uint32_t* const place = start[pass].data();
        const int shift = 32 + pass * digit;
        uint32_t sum = 0;
        for (uint64_t i = 0; i <= mask; ++i) sum += std::exchange(place[i], sum);
        for (int64_t i = 0; i < count; ++i) other[place[(edges[i] - base) >> shift & mask]++] = edges[i];
        std::swap(edges, other);
    }
    return edges;
}

// Steps 3 and 4: the forest that joins the pixels of a graph.
class Segmentation {
  public:
    Segmentation(const Graph& graph, int64_t count, const Parameters& parameters)
        : graph_(graph), parameters_(parameters), count_(count), forest_(count, parameters.k), components_(count),
          edges_(4 * count), other_(4 * count) {}

    // Step 3.
    void join_similar() {
        int32_t first = 0;
        for (const double fraction : {0.25, 0.5, 0.7, 1.0}) {
            const int32_t last = fraction < 1.0 ? graph_.quantile(fraction) : Graph::highest();
            if (last < first) continue;
            const float least = weight_of(static_cast<Edge>(first) << 32);
            find_components([&](int32_t root) { return forest_.threshold(root) < least ? closed : 0u; });
            const Sorted edges = sorted(first, last);
            for_each_pair(edges.begin, edges.end, [&](int32_t a, int32_t b, float weight) {
                if (weight > std::min(forest_.threshold(a), forest_.threshold(b))) return;
                const int32_t root = forest_.join(a, b);
                forest_.set_threshold(root, weight + parameters_.k / static_cast<float>(forest_.size(root)));
            });
            first = last + 1;
        }
    }

    // Step 4.
    void join_small() {
        find_components([&](int32_t root) { return is_small(root) ? 0u : large; });
        const Sorted edges = sorted(0, Graph::highest());
        const Edge* done = edges.begin;
        for (const Edge *first = edges.begin, *last; first < edges.end; first = last) {
            last = first + 1;
            while (last < edges.end && weight_bits(*last) == weight_bits(*first)) ++last;
            if (last - first == 1) continue;
            join_small(done, first);
            done = first;
            if (order_matters(first, last)) return join_small_as_published(weight_bits(*first));
        }
        join_small(done, edges.end);
    }

    // Relabel in raster order of first appearance.
    int64_t number(int32_t* labels) const {
        int32_t next = 0;
        for (int32_t pixel = 0; pixel < count_; ++pixel) {
            const int32_t parent = forest_.parent(pixel);
            labels[pixel] = parent == pixel ? next++ : labels[parent];
        }
        return next;
    }

  private:
    struct Sorted {
        const Edge *begin, *end;
    };

    bool is_small(int32_t root) const { return forest_.size(root) < parameters_.min_size; }

    // Each pixel's component and its state. A parent comes before its children.
    template <class State>
    void find_components(State state) {
        for (int32_t pixel = 0; pixel < count_; ++pixel) {
            components_[pixel] = component(pixel, state(pixel));  // stays at a root
            components_[pixel] = components_[forest_.parent(pixel)];
            forest_.shorten(pixel, root_of(components_[pixel]));
        }
    }

    // The edges between first and last that can join two components, by ascending weight; valid until the next call.
    Sorted sorted(int32_t first, int32_t last) {
        const int64_t count = graph_.edges_between(components_.data(), first, last, edges_.data());
        const Edge* begin = radix_sort(edges_.data(), other_.data(), count, first, last);
        return {begin, begin + count};
    }

    // Call use(root, root, weight) for edges between two components, in order. Many lie inside one, and where the way to a root
    // ends cannot be foretold; so a block is looked at without branches first, and what is left needs few steps more.
    template <class Use>
    void for_each_pair(const Edge* first, const Edge* last, Use use) {
        struct Pair {
            int32_t a, b;
            float weight;
        };
        constexpr ptrdiff_t block = 256;
        std::array<Pair, block> pairs;
        while (first < last) {
            Pair* next = pairs.data();
            for (const Edge* const end = first + std::min(block, last - first); first < end; ++first) {
                const int32_t a = pixel_of(*first), b = static_cast<int32_t>(a + graph_.steps()[*first & 3]);
                *next = {forest_.ancestor(a), forest_.ancestor(b), weight_of(*first)};
                next += next->a != next->b;
            }
            for (const Pair* pair = pairs.data(); pair < next; ++pair) {
                const int32_t a = forest_.root(pair->a), b = forest_.root(pair->b);
                if (a != b) use(a, b, pair->weight);
            }
        }
    }

    // Step 4 for edges whose order is settled or does not matter.
    void join_small(const Edge* first, const Edge* last) {
        for_each_pair(first, last, [&](int32_t a, int32_t b, float) {
            if (is_small(a) || is_small(b)) forest_.join(a, b);
        });
    }

    // Step 4 for all edges of at least this weight, in the published order.
    void join_small_as_published(uint32_t least) {
        std::vector<Edge> edges = graph_.all_edges();
        Introsort::sort(edges.data(), edges.data() + edges.size());
        const auto lighter = [](Edge edge, uint32_t bits) { return weight_bits(edge) < bits; };
        const auto begin = std::lower_bound(edges.begin(), edges.end(), least, lighter);
        join_small(&*begin, edges.data() + edges.size());
    }

    // True where the result of step 4 on these edges of one weight may depend on their order: a component has two partners.
    bool order_matters(const Edge* first, const Edge* last) {
        partners_.clear();
        for_each_pair(first, last, [&](int32_t a, int32_t b, float) {
            if (!is_small(a) && !is_small(b)) return;
            partners_.emplace_back(a, b);
            partners_.emplace_back(b, a);
        });
        std::sort(partners_.begin(), partners_.end());
        for (size_t i = 1; i < partners_.size(); ++i)
            if (partners_[i].first == partners_[i - 1].first && partners_[i].second != partners_[i - 1].second) return true;
        return false;
    }

    const Graph& graph_;
    const Parameters& parameters_;
    const int64_t count_;
    Forest forest_;
    icd::Buffer<uint32_t> components_;
    icd::Buffer<Edge> edges_, other_;  // used as far as needed
    std::vector<std::pair<int32_t, int32_t>> partners_;
};

}  // namespace

int64_t segment(const uint8_t* rgb, int64_t height, int64_t width, const Parameters& parameters, int32_t* labels) {
    if (height * width == 0) return 0;
    const Graph graph(rgb, height, width, parameters.sigma);
    Segmentation segmentation(graph, height * width, parameters);
    segmentation.join_similar();
    segmentation.join_small();
    return segmentation.number(labels);
}

}  // namespace superpixel
