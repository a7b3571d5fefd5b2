// Greedy region merging (ICD, generate_superpixel, spec 5.3).
//
// While more than `limit` regions remain, the pair with the largest
//     sim(i, j) = cos(F_i, F_j) + 1 - (a_i + a_j) / area          (rounded to float32; F features, a sizes in pixels)
// is merged; of equal pairs the first in row-major order. Region i < j takes the mean feature, weighted by size. Regions
// need not touch. A feature of length zero is like no other: its cosine is 0.
//
// Every pair is compared, so nothing but the order of comparing can be saved. A search of a region finds its best partner among
// all regions that are left; 8-bit sketches (region_sketch.h) tell which few pairs need their exact similarity. A pair is
// answered for by that of its two regions which was searched last, so a merge searches one region, the new one, and touches no
// other. What a search found stands in a heap; when its partner is gone it still says that nothing better is left, and
// the region is searched again only if its turn comes.
//
// Cost: R^2 C / 2 sketched products at first, then R C a search, one to two searches a merge; memory O(R C), no table of pairs.
#include "region_merging.h"

#include <cmath>
#include <limits>
#include <queue>
#include <vector>

#include "parallel.h"
#include "region_sketch.h"
#include "vectorize.h"

namespace icd {
namespace {

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

double dot_baseline(const float* a, const float* b, int64_t count) { return dot_body(a, b, count); }
ICD_AVX2 double dot_avx2(const float* a, const float* b, int64_t count) { return dot_body(a, b, count); }

// Two regions and their similarity. Pairs are ordered by what is merged first.
struct Pair {
    float similarity;
    int64_t low, high;

    bool before(const Pair& other) const {
        if (similarity != other.similarity) return similarity > other.similarity;
        return low != other.low ? low < other.low : high < other.high;
    }
};

class Merger {
  public:
    Merger(const float* features, const int64_t* sizes, int64_t regions, int64_t channels, double area, int threads)
        : channels_(channels), area_(area), threads_(threads), features_(features, features + regions * channels),
          sizes_(sizes, sizes + regions), lengths_(regions), parent_(regions), versions_(regions, 0), region_of_row_(regions),
          row_of_region_(regions), sketches_(regions, centre(regions)) {
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
            search(best.region);
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

    double dot(int64_t i, int64_t j) const {
        return dot_(features_.data() + i * channels_, features_.data() + j * channels_, channels_);
    }

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

    // Levels are halves of what a similarity has beside the cosine.
    void sketch(int64_t i) {
        const double level = 0.5 - static_cast<double>(sizes_[i]) / area_;
        sketches_.set(row_of_region_[i], features_.data() + i * channels_, inverse_length(i), level);
    }

    // The best pair of region `i` with the regions in rows begin..end, whose bounds are given; `i` is none of them.
    Pair best_pair(int64_t i, int64_t begin, int64_t end, const float* middle, const float* radius) const {
        int64_t likely = 0;
        for (int64_t k = 1; k < end - begin; ++k)
            if (middle[k] > middle[likely]) likely = k;
        Pair best = pair(i, region_of_row_[begin + likely]);
        for (int64_t k = 0; k < end - begin; ++k) {
            if (middle[k] + radius[k] < best.similarity || k == likely) continue;
            const Pair next = pair(i, region_of_row_[begin + k]);
            if (next.before(best)) best = next;
        }
        return best;
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
            std::vector<float> middle(Sketches::group * regions), radius(Sketches::group * regions);
            for (int64_t g = begin; g < end; ++g) {  // one from either end: the first have most to do
                search_group(g, middle.data(), radius.data(), best.data());
                if (g != groups - 1 - g) search_group(groups - 1 - g, middle.data(), radius.data(), best.data());
            }
        });
        for (int64_t i = 0; i + 1 < regions; ++i) keep(i, best[i]);
    }

    void search_group(int64_t group, float* middle, float* radius, Pair* best) const {
        const int64_t regions = left(), first = group * Sketches::group, last = std::min(first + Sketches::group, regions);
        const bool whole = last - first == Sketches::group;
        if (whole) sketches_.bounds(first, Sketches::group, first, regions, middle, radius);
        for (int64_t i = first; i < last && i + 1 < regions; ++i) {
            if (!whole) sketches_.bounds(i, 1, first, regions, middle, radius);
            const int64_t start = (whole ? i - first : 0) * (regions - first) + i + 1 - first;
            best[i] = best_pair(i, i + 1, regions, middle + start, radius + start);
        }
    }

    // From now on region `i` answers for its pairs with all that are left.
    void search(int64_t i) {
        const int64_t count = left(), own = row_of_region_[i];
        if (count == 1) return;
        middle_.resize(count);
        radius_.resize(count);
        sketches_.bounds(own, 1, 0, count, middle_.data(), radius_.data());
        middle_[own] = -std::numeric_limits<float>::infinity();
        keep(i, best_pair(i, 0, count, middle_.data(), radius_.data()));
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

    double (*const dot_)(const float*, const float*, int64_t) = use_avx2() ? dot_avx2 : dot_baseline;
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
    std::vector<float> middle_, radius_;
};

}  // namespace

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
