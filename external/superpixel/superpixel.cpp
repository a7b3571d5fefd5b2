// Graph-based image segmentation (Felzenszwalb & Huttenlocher, IJCV 59(2), 2004), written from the paper and from a
// description of the behaviour of the ICD authors' tool.
//
// 1. Smooth R, G, B with a Gaussian. 2. Join each pixel with its 8 neighbours; an edge weighs the colour distance.
// 3. By ascending weight w, join the two components of an edge where w <= threshold of both; the new threshold is
//    w + k / size. 4. Again by ascending weight, join where one of the two has fewer than min_size pixels.
//
// Edges are sorted and looked at in a few groups of ascending weight. When the light ones have been joined, most heavier ones
// lie inside a component, or between two large components one of which has a threshold below all remaining weights and so is
// closed to step 3. One linear pass drops these before they are sorted.
//
// Cost: O(n) for a fixed kernel: radix sorts, and a forest at almost O(1) an edge; about 100 bytes a pixel. Arithmetic is
// single precision in a fixed order: the same labels on every machine.
//
// Edges of equal weight. Published maps took them in the order in which libstdc++'s unstable sort leaves them. Step 3
// does not depend on that order: at weight w a component takes part if its threshold is >= w, this stays so when it is
// joined (w + k / size >= w), hence the result is the connected parts of those components. Step 4 does depend on it, if
// at one weight a component has several neighbours to choose from. Only then the slower Introsort is run.
#include "superpixel.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "edges.h"
#include "introsort.h"

namespace superpixel {
namespace {

using Edges = std::vector<Edge>;

// Sort edges whose weight bits lie in first..last: passes of up to eleven bits over what differs. `other` has room for as
// many edges; the result is in the array returned.
Edge* radix_sort(Edge* edges, Edge* other, int64_t count, int32_t first, int32_t last) {
    constexpr int digit = 11;
    constexpr uint64_t mask = (1u << digit) - 1;
    const uint64_t base = static_cast<uint64_t>(first) << 32;
    for (int shift = 32; shift < 64 && static_cast<uint64_t>(last - first) >> (shift - 32) > 0; shift += digit) {
        std::array<uint32_t, mask + 1> start{};
        for (int64_t i = 0; i < count; ++i) ++start[(edges[i] - base) >> shift & mask];
        uint32_t sum = 0;
        for (uint32_t& place : start) sum += std::exchange(place, sum);
        for (int64_t i = 0; i < count; ++i) other[start[(edges[i] - base) >> shift & mask]++] = edges[i];
        std::swap(edges, other);
    }
    return edges;
}

// Disjoint sets of pixels. A node's link is its parent's number; at a root it is minus the size.
class Forest {
  public:
    Forest(int64_t count, const std::array<int64_t, 4>& steps, float threshold)
        : nodes_(count, Node{-1, threshold}), step_(steps) {}

    // Bring the two nodes of an edge that will be needed soon into the cache.
    void prefetch(uint64_t edge) const {
#if defined(__GNUC__)
        __builtin_prefetch(&nodes_[pixel_of(edge)]);
        __builtin_prefetch(&nodes_[pixel_of(edge) + step_[edge & 3]]);
#endif
    }
    int32_t root(int32_t node) {
        while (nodes_[node].link >= 0) {
            const int32_t next = nodes_[node].link;
            if (nodes_[next].link < 0) return next;
            node = nodes_[node].link = nodes_[next].link;
        }
        return node;
    }
    int32_t flattened_root(int32_t node) {
        const int32_t found = root(node);
        if (found != node) nodes_[node].link = found;
        return found;
    }
    int32_t from(uint64_t edge) { return root(pixel_of(edge)); }
    int32_t to(uint64_t edge) { return root(static_cast<int32_t>(pixel_of(edge) + step_[edge & 3])); }
    int32_t size(int32_t root) const { return -nodes_[root].link; }
    float& threshold(int32_t root) { return nodes_[root].threshold; }
    int32_t join(int32_t a, int32_t b) {
        if (nodes_[a].link > nodes_[b].link) std::swap(a, b);
        nodes_[a].link += nodes_[b].link;
        return nodes_[b].link = a;
    }

  private:
    struct Node {
        int32_t link;
        float threshold;
    };
    std::vector<Node> nodes_;
    std::array<int64_t, 4> step_;
};

// Step 3 for edges in order. Those at which two components stayed apart are appended to `apart`.
void join_similar(const Edge* edges, int64_t count, float k, Forest& forest, Edges& apart) {
    constexpr int64_t ahead = 16;
    for (int64_t i = 0; i < count; ++i) {
        if (i + ahead < count) forest.prefetch(edges[i + ahead]);
        const Edge edge = edges[i];
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
}

// Each pixel's component, for edges of at least `weight`.
void find_components(Forest& forest, int64_t min_size, float weight, std::vector<uint32_t>& components) {
    int32_t known_root = -1;
    uint32_t known = 0;
    for (size_t pixel = 0; pixel < components.size(); ++pixel) {
        const int32_t root = forest.flattened_root(static_cast<int32_t>(pixel));
        if (root != known_root) {
            known_root = root;
            known = component(root, forest.size(root) >= min_size, forest.threshold(root) < weight);
        }
        components[pixel] = known;
    }
}

// Step 3. Returns the edges that stayed between two components and may matter to step 4, by ascending weight.
Edges join_all_similar(const Graph& graph, int64_t count, const Parameters& parameters, Forest& forest) {
    Edges apart;
    std::vector<uint32_t> components(count);
    for (int32_t pixel = 0; pixel < count; ++pixel) components[pixel] = component(pixel, false, false);
    const std::unique_ptr<Edge[]> edges(new Edge[4 * count]), other(new Edge[4 * count]);  // used as far as needed
    int32_t first = 0;
    for (const double fraction : {0.25, 0.5, 0.7, 1.0}) {
        const int32_t last = fraction < 1.0 ? graph.quantile(fraction) : graph.highest();
        if (last < first) continue;
        const int64_t chosen = graph.edges_between(components, first, last, edges.get());
        const Edge* sorted = radix_sort(edges.get(), other.get(), chosen, first, last);
        join_similar(sorted, chosen, parameters.k, forest, apart);
        if (fraction == 1.0) break;
        first = last + 1;
        find_components(forest, parameters.min_size, weight_of(static_cast<Edge>(first) << 32), components);
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
    const Graph graph(rgb, height, width, parameters.sigma);
    Forest forest(count, graph.steps(), parameters.k);
    const Edges apart = join_all_similar(graph, count, parameters, forest);

    std::vector<std::pair<int32_t, int32_t>> partners;
    const uint64_t* const end = apart.data() + apart.size();
    for (const uint64_t* first = apart.data(); first < end;) {
        const uint64_t* last = first + 1;
        while (last < end && *last >> 32 == *first >> 32) ++last;
        if (last - first > 1 && order_matters(first, last, parameters.min_size, forest, partners)) {
            const uint32_t weight = static_cast<uint32_t>(*first >> 32);
            Edges edges = graph.all_edges();
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
