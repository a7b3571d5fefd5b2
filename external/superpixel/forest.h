// Disjoint sets of pixels. A parent's number is below its children's: so a root is its set's first pixel in raster order, one
// pass in raster order finds all roots, and joining needs no comparison of sizes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "memory.h"

namespace superpixel {

class Forest {
  public:
    Forest(int64_t count, float threshold) : parent_(count), sets_(count, Set{1, threshold}) {
        for (int64_t node = 0; node < count; ++node) parent_[node] = static_cast<int32_t>(node);
    }

    int32_t parent(int32_t node) const { return parent_[node]; }
    int32_t size(int32_t root) const { return sets_[root].size; }
    float threshold(int32_t root) const { return sets_[root].threshold; }
    void set_threshold(int32_t root, float threshold) { sets_[root].threshold = threshold; }

    // Link a node directly to its root, or to a node on the way there.
    void shorten(int32_t node, int32_t above) { parent_[node] = above; }

    // A node on the way from `node` to its root, found without branches. It stays on that way whatever is joined.
    int32_t ancestor(int32_t node) { return parent_[node] = parent_[parent_[node]]; }

    int32_t root(int32_t node) {
        while (parent_[node] != node) node = ancestor(node);
        return node;
    }
    int32_t join(int32_t a, int32_t b) {
        const int32_t root = std::min(a, b), child = std::max(a, b);
        sets_[root].size += sets_[child].size;
        return parent_[child] = root;
    }

  private:
    struct Set {
        int32_t size;
        float threshold;
    };
    icd::Buffer<int32_t> parent_;
    icd::Buffer<Set> sets_;  // by root
};

}  // namespace superpixel
