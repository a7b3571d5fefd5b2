// Greedy region merging (ICD, generate_superpixel, spec 5.3).
//
// While more than `limit` regions remain, the pair with the largest
//     sim(i, j) = cos(F_i, F_j) + 1 - (a_i + a_j) / area          (rounded to float32; F features, a sizes in pixels)
// is merged; of equal pairs the first in row-major order. Region i < j takes the mean feature, weighted by size. Regions
// need not touch. A feature of length zero is like no other: its cosine is 0.
//
// Regions need not touch, so any two may be the next pair. A search of a region finds its best partner among all regions that
// are left; 8-bit sketches (region_sketch.h) tell which few pairs need their exact similarity. A pair is
// answered for by that of its two regions which was searched last, so a merge searches one region, the new one, and touches no
// other. What a search found stands in a heap. When its partner is gone it still says that nothing better is left; only if its
// turn comes are the runners-up compared, and only if these do not suffice is the region searched again.
//
// Cost: R^2 C / 2 sketched products at first, then R C a search, a little over one search a merge; memory O(R C), no table of
// pairs.
#include "region_merging.h"

#include <algorithm>
#include <cmath>
#include <queue>
#include <vector>

#include "dot.h"
#include "parallel.h"
#include "region_sketch.h"

namespace icd {
namespace {

// Two regions and their similarity. Pairs are ordered by what is merged first.
struct Pair {
    float similarity;
    int64_t low, high;

    bool before(const Pair& other) const {
        if (similarity != other.similarity) return similarity > other.similarity;
        return low != other.low ? low < other.low : high < other.high;
    }
};

// The rows whose similarity to one region can be high.
class Shortlist {
  public:
    static constexpr size_t length = 16;

    struct Row {
        int64_t row;
        float bound;  // the similarity is not above this
    };

    // Bounds of `count` rows and the highest of each tile of them, as Sketches::upper_bounds leaves them.
    struct Bounds {
        int64_t count;
        const float *upper, *highest;
    };

    static int64_t highest_row(const Bounds& bounds) {
        const int64_t tiles = Sketches::tiles_of(bounds.count);
        const int64_t first = (std::max_element(bounds.highest, bounds.highest + tiles) - bounds.highest) * Sketches::tile;
        const int64_t last = std::min(first + Sketches::tile, bounds.count);
        return std::max_element(bounds.upper + first, bounds.upper + last) - bounds.upper;
    }

    // The rows that can reach a similarity and, where a search is more than a few microseconds' work, the next ones until
    // there are some more than `length`.
    void choose(const Bounds& bounds, float similarity) {
        rows_.clear();
        rest_ = bounds.count < 1024 ? similarity : similarity - slack_;
        for (int64_t first = 0; first < bounds.count; first += Sketches::tile) {
            if (bounds.highest[first / Sketches::tile] < rest_) continue;
            for (int64_t row = first; row < std::min(first + Sketches::tile, bounds.count); ++row)
                if (bounds.upper[row] >= rest_) rows_.push_back({row, bounds.upper[row]});
        }
        if (bounds.count < 1024) return;
        slack_ *= rows_.size() > 4 * length ? 0.7f : rows_.size() < 2 * length ? 1.4f : 1.0f;
    }

    std::vector<Row>& rows() { return rows_; }

    // How many rows can reach a similarity.
    size_t reaching(float similarity) const {
        return std::count_if(rows_.begin(), rows_.end(), [=](const Row& row) { return row.bound >= similarity; });
    }

    void sort() {
        std::sort(rows_.begin(), rows_.end(), [](const Row& a, const Row& b) { return a.bound > b.bound; });
    }

    // Of sorted rows, leaves the first ones; returns what bounds all others.
    float shorten() {
        if (rows_.size() > length) {
            rest_ = std::max(rest_, rows_[length].bound);
            rows_.resize(length);
        }
        return rest_;
    }

  private:
    std::vector<Row> rows_;
    float rest_ = 0.0f, slack_ = 0.01f;  // the slack decides what is looked at, never what is found
};

class Merger {
  public:
    Merger(const float* features, const int64_t* sizes, int64_t regions, int64_t channels, double area, int threads)
        : channels_(channels), area_(area), threads_(threads), features_(features, features + regions * channels),
          sizes_(sizes, sizes + regions), lengths_(regions), parent_(regions), versions_(regions, 0), region_of_row_(regions),
          row_of_region_(regions), sketches_(regions, centre(regions)), runners_up_(regions), rest_(regions) {
        for (int64_t i = 0; i < regions; ++i) {
            parent_[i] = region_of_row_[i] = row_of_region_[i] = i;
            sketch(i);
        }
        search_all();
    }

    int64_t left() const { return static_cast<int64_t>(region_of_row_.size()); }

    void merge_best_pair() {
        for (;;) {
            const Found best = found_.top();
            found_.pop();
            if (versions_[best.region] != best.version) continue;  // was merged, and searched anew if it is left
            const int64_t partner = best.pair.low + best.pair.high - best.region;
            if (versions_[partner] == best.partner_version) return absorb(best.pair.low, best.pair.high);
            search_again(best.region);
        }
    }

    void number(int32_t* numbers) const {
        const int64_t regions = static_cast<int64_t>(parent_.size());
        int32_t next = 0;
        for (int64_t i = 0; i < regions; ++i)  // a region is absorbed by one of a smaller number
            numbers[i] = parent_[i] == i ? next++ : numbers[parent_[i]];
    }

  private:
    // The best pair that a region answers for. Versions tell whether its two regions are still what they were.
    struct Found {
        Pair pair;
        int64_t region;
        int32_t version, partner_version;
        bool operator<(const Found& other) const { return other.pair.before(pair); }
    };
    struct Version {
        int32_t region, version;
    };

    double dot(int64_t i, int64_t j) const { return icd::dot(feature(i), feature(j), channels_); }

    float similarity(int64_t i, int64_t j) const {
        const double lengths = lengths_[i] * lengths_[j];
        const double cosine = lengths > 0.0 ? dot(i, j) / lengths : 0.0;
        return static_cast<float>(cosine + 1.0 - static_cast<double>(sizes_[i] + sizes_[j]) / area_);
    }

    // The mean of the unit vectors; on the way, the lengths.
    std::vector<float> centre(int64_t regions) {
        std::vector<double> sum(channels_, 0.0);
        for (int64_t i = 0; i < regions; ++i) {
            lengths_[i] = std::sqrt(dot(i, i));
            const double factor = inverse_length(i);
            for (int64_t c = 0; c < channels_; ++c) sum[c] += factor * static_cast<double>(features_[i * channels_ + c]);
        }
        std::vector<float> mean(channels_);
        for (int64_t c = 0; c < channels_; ++c) mean[c] = static_cast<float>(sum[c] / static_cast<double>(regions));
        return mean;
    }

    double inverse_length(int64_t i) const { return lengths_[i] > 0.0 ? 1.0 / lengths_[i] : 0.0; }

    const float* feature(int64_t i) const { return features_.data() + i * channels_; }

    // The region's part of what a similarity has beside the cosine.
    double level(int64_t i) const { return 0.5 - static_cast<double>(sizes_[i]) / area_; }

    void sketch(int64_t i) { sketches_.set(row_of_region_[i], feature(i), inverse_length(i), level(i)); }

    // Find the best pair of region `i` with the regions of the rows from `begin` on, whose bounds are given without `i`'s.
    Pair best_pair(int64_t i, int64_t begin, const Shortlist::Bounds& bounds, Shortlist& list) {
        Pair best = pair(i, region_of_row_[begin + Shortlist::highest_row(bounds)]);
        list.choose(bounds, best.similarity);
        if (list.reaching(best.similarity) > Shortlist::length) {
            const Sketches::Fine own = sketches_.fine(feature(i), inverse_length(i), level(i));
            for (Shortlist::Row& row : list.rows())
                row.bound = std::min(row.bound, sketches_.upper_bound(own, begin + row.row));
        }
        list.sort();
        for (const Shortlist::Row& row : list.rows()) {
            if (row.bound < best.similarity) break;
            const Pair next = pair(i, region_of_row_[begin + row.row]);
            if (next.before(best)) best = next;
        }
        rest_[i] = list.shorten();
        runners_up_[i].clear();
        for (const Shortlist::Row& row : list.rows()) {
            const int64_t region = region_of_row_[begin + row.row];
            runners_up_[i].push_back({static_cast<int32_t>(region), versions_[region]});
        }
        return best;
    }

    // When the best partner of region `i` is gone: the best of the runners-up where no other region can be better.
    void search_again(int64_t i) {
        Pair best{rest_[i], -1, -1};
        for (const Version& other : runners_up_[i]) {
            if (versions_[other.region] != other.version) continue;
            const Pair next = pair(i, other.region);
            if (next.before(best)) best = next;
        }
        if (best.low >= 0)
            keep(i, best);
        else
            search(i);
    }

    Pair pair(int64_t i, int64_t j) const { return {similarity(i, j), std::min(i, j), std::max(i, j)}; }

    void keep(int64_t i, const Pair& best) {
        found_.push({best, i, versions_[i], versions_[best.low + best.high - i]});
    }

    // At first each region answers for its pairs with those of larger numbers.
    void search_all() {
        const int64_t regions = left(), groups = (regions - 1) / Sketches::group + 1;
        std::vector<Pair> best(regions);
        parallel_for((groups + 1) / 2, threads_, 4, [&](int64_t begin, int64_t end) {
            std::vector<float> upper(Sketches::group * regions), highest(Sketches::group * Sketches::tiles_of(regions));
            Shortlist list;
            for (int64_t g = begin; g < end; ++g)  // one from either end: the first have most to do
                for (const int64_t group : {g, groups - 1 - g}) {
                    search_group(group * Sketches::group, upper.data(), highest.data(), list, best.data());
                    if (2 * g == groups - 1) break;
                }
        });
        for (int64_t i = 0; i + 1 < regions; ++i) keep(i, best[i]);
    }

    void search_group(int64_t first, float* upper, float* highest, Shortlist& list, Pair* best) {
        const int64_t regions = left(), count = regions - first, tiles = Sketches::tiles_of(count);
        const int64_t last = std::min(first + Sketches::group, regions);
        const bool together = last - first == Sketches::group;
        if (together) sketches_.upper_bounds(first, Sketches::group, first, regions, upper, highest);
        for (int64_t i = first; i < last && i + 1 < regions; ++i) {
            if (!together) sketches_.upper_bounds(i, 1, first, regions, upper, highest);
            Sketches::exclude(0, i + 1 - first, count, upper, highest);
            best[i] = best_pair(i, first, {count, upper, highest}, list);
            if (!together) continue;
            upper += count;
            highest += tiles;
        }
    }

    // From now on region `i` answers for its pairs with all that are left.
    void search(int64_t i) {
        const int64_t count = left(), own = row_of_region_[i];
        if (count == 1) return;
        upper_.resize(count);
        highest_.resize(Sketches::tiles_of(count));
        sketches_.upper_bounds(own, 1, 0, count, upper_.data(), highest_.data());
        Sketches::exclude(own, own + 1, count, upper_.data(), highest_.data());
        keep(i, best_pair(i, 0, {count, upper_.data(), highest_.data()}, list_));
    }

    void absorb(int64_t i, int64_t j) {
        const float total = static_cast<float>(sizes_[i] + sizes_[j]);
        const float of_i = static_cast<float>(sizes_[i]) / total, of_j = static_cast<float>(sizes_[j]) / total;
        for (int64_t c = 0; c < channels_; ++c) {
            float& feature = features_[i * channels_ + c];
            feature = feature * of_i + features_[j * channels_ + c] * of_j;
        }
        sizes_[i] += sizes_[j];
        lengths_[i] = std::sqrt(dot(i, i));
        parent_[j] = i;
        ++versions_[i];
        ++versions_[j];
        const int64_t hole = row_of_region_[j], last = left() - 1;  // rows stay without gaps
        sketches_.copy(last, hole);
        region_of_row_[hole] = region_of_row_[last];
        row_of_region_[region_of_row_[hole]] = hole;
        region_of_row_.pop_back();
        sketch(i);
        search(i);
    }

    int64_t channels_;
    double area_;
    int threads_;
    std::vector<float> features_;
    std::vector<int64_t> sizes_;
    std::vector<double> lengths_;
    std::vector<int64_t> parent_;
    std::vector<int32_t> versions_;
    std::vector<int64_t> region_of_row_, row_of_region_;  // of the sketches
    Sketches sketches_;
    std::priority_queue<Found> found_;
    std::vector<std::vector<Version>> runners_up_;  // of each region after its best partner, which may stand there too
    std::vector<float> rest_;                       // of each region: no other partner is more alike than this
    Shortlist list_;
    std::vector<float> upper_, highest_;
};

}  // namespace

void region_sizes(const int32_t* ids, int64_t pixels, int64_t regions, int64_t* sizes) {
    std::fill_n(sizes, regions, 0);
    for (int64_t first = 0, last; first < pixels; first = last) {  // runs, lest each addition wait for the one before
        last = first + 1;
        while (last < pixels && ids[last] == ids[first]) ++last;
        sizes[ids[first]] += last - first;
    }
}

int64_t merge_regions(const float* features, const int64_t* sizes, int64_t regions, int64_t channels, double area,
                      int64_t limit, int threads, int32_t* numbers) {
    if (regions <= limit) {
        for (int64_t i = 0; i < regions; ++i) numbers[i] = static_cast<int32_t>(i);
        return regions;
    }
    Merger merger(features, sizes, regions, channels, area, threads);
    while (merger.left() > limit) merger.merge_best_pair();
    merger.number(numbers);
    return limit;
}

}  // namespace icd
