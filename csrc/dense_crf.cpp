// Fully connected CRF with Gaussian edge potentials (Kraehenbuehl & Koltun, NIPS 2011), written from the paper.
//
//     Q <- softmax(-U);  repeat: Q <- softmax(-U + sum over kernels k of w_k D_k^-1/2 K_k D_k^-1/2 Q)
//
// Potts compatibility, K filtered on the permutohedral lattice, D = K 1 (symmetric normalisation). Kernels: position / sxy,
// and (position / sxy, colour / srgb).
//
// Labels with the same unary at every pixel keep the same Q at every pixel, because Potts treats labels alike. One of them
// is carried along and counts as often as it occurs in the softmax's sum; this is exact.
//
// An iteration is one pass over the pixels, band by band and piece by piece: take from both lattices, softmax, give to both
// for the next iteration, while the piece is in the first cache. So probabilities are never stored. Several threads share
// the bands, and the lattices' vertices in between.
//
// Cost: two lattices once; per iteration O(pixels * different labels). 8 bytes a pixel and kernel corner, plus 4 a pixel and
// different label, plus what the lattices hold.
#include "dense_crf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "parallel.h"
#include "permutohedral.h"
#include "vectorize.h"

namespace icd {
namespace {

constexpr int64_t least = 4096;  // pixels that are worth a thread
constexpr int64_t piece = 256;   // pixels that are worked on at once
constexpr int block = Lattice::most_lanes;

// exp(x) for x <= 0 within 2 units in the last place; 0 below -64, lest the filter slow down on denormal numbers. A loop
// over it becomes vector code on every processor. x = n ln 2 + r; e^r by its series, enough for |r| <= ln(2) / 2.
ICD_INLINE float exp_of_negative(float value) {
    constexpr float to_binary = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    constexpr float rounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
    constexpr float lowest = -64.0f;
    const float x = value < lowest ? lowest : value;
    const float shifted = x * to_binary + rounder;
    const float n = shifted - rounder;
    const float r = (x - n * ln2_high) - n * ln2_low;
    float series = 1.0f / 5040.0f;
    series = series * r + 1.0f / 720.0f;
    series = series * r + 1.0f / 120.0f;
    series = series * r + 1.0f / 24.0f;
    series = series * r + 1.0f / 6.0f;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    uint32_t bits, power;
    std::memcpy(&bits, &shifted, sizeof bits);
    std::memcpy(&power, &series, sizeof power);
    power += bits << 23;
    std::memcpy(&series, &power, sizeof series);
    return value < lowest ? 0.0f : series;
}

// The labels whose unaries differ, how often each occurs, and which of them stands for a label.
struct DistinctLabels {
    std::vector<int64_t> first;         // label number of each distinct unary
    std::vector<float> multiplicity;    // [lanes], 0 for padding
    std::vector<int64_t> lane_of_label;
    int64_t lanes;                      // distinct labels, padded to a number that the filter takes

    DistinctLabels(const float* unary, int64_t labels, int64_t pixels) : lane_of_label(labels) {
        for (int64_t label = 0; label < labels; ++label) {
            const float* own = unary + label * pixels;
            const auto same = [&](int64_t other) {
                return std::memcmp(own, unary + other * pixels, pixels * sizeof(float)) == 0;
            };
            const int64_t lane = std::find_if(first.begin(), first.end(), same) - first.begin();
            if (lane == static_cast<int64_t>(first.size())) {
                first.push_back(label);
                multiplicity.push_back(0.0f);
            }
            multiplicity[lane] += 1.0f;
            lane_of_label[label] = lane;
        }
        lanes = padded(static_cast<int64_t>(first.size()));
        multiplicity.resize(lanes, 0.0f);
    }

    static int64_t padded(int64_t count) {
        const int64_t rest = count % block;
        return count - rest + (rest == 0 ? 0 : rest <= 2 ? 2 : rest <= 4 ? 4 : rest <= 8 ? 8 : rest <= 16 ? 16 : block);
    }
};

// The softmax of each pixel's logits, in place: three passes over values that stay in the first cache.
template <int lanes>
ICD_INLINE void softmax_body(float* logits, int64_t count, const float* multiplicity) {
    using Lanes = Group<lanes>;
    const Lanes weights = Lanes::at(multiplicity);
    float* const end = logits + count * lanes;
    for (float* logit = logits; logit < end; logit += lanes) {
        Lanes values = Lanes::at(logit);
        auto highest = values.part[0];
        for (int i = 1; i < Lanes::count; ++i) highest = values.part[i] > highest ? values.part[i] : highest;
        const float most = largest_of<Lanes::width>(highest);
        for (int i = 0; i < Lanes::count; ++i) values.part[i] -= most;
        values.store_at(logit);
    }
    for (int64_t i = 0; i < count * lanes; ++i) logits[i] = exp_of_negative(logits[i]);
    for (float* logit = logits; logit < end; logit += lanes) {
        Lanes values = Lanes::at(logit);
        auto sums = weights.part[0] * values.part[0];
        for (int i = 1; i < Lanes::count; ++i) sums += weights.part[i] * values.part[i];
        const float factor = 1.0f / sum_of_all<Lanes::width>(sums);
        for (int i = 0; i < Lanes::count; ++i) values.part[i] *= factor;
        values.store_at(logit);
    }
}
ICD_DISPATCH_LANES(softmax, (float* logits, int64_t count, const float* multiplicity), (logits, count, multiplicity))

// The same for any number of lanes.
ICD_INLINE void softmax_of_many_body(float* logits, int64_t count, int64_t lanes, const float* multiplicity) {
    for (float* const end = logits + count * lanes; logits < end; logits += lanes) {
        float highest = logits[0], sum = 0.0f;
        for (int64_t l = 1; l < lanes; ++l) highest = logits[l] > highest ? logits[l] : highest;
        for (int64_t l = 0; l < lanes; ++l) logits[l] = exp_of_negative(logits[l] - highest);
        for (int64_t l = 0; l < lanes; ++l) sum += multiplicity[l] * logits[l];
        const float factor = 1.0f / sum;
        for (int64_t l = 0; l < lanes; ++l) logits[l] *= factor;
    }
}
ICD_DISPATCH(softmax_of_many, (float* logits, int64_t count, int64_t lanes, const float* multiplicity),
             (logits, count, lanes, multiplicity))

class MeanField {
  public:
    MeanField(const uint8_t* rgb, const float* unary, const CrfShape& shape, const CrfKernels& kernels, int iterations,
              int threads)
        : pixels_(shape.height * shape.width), kernels_(kernels), bands_(shape.height, shape.width), unary_(unary),
          labels_(unary, shape.labels, pixels_), energy_(pixels_ * labels_.lanes) {
        if (iterations == 0) return;
        gaussian_.emplace(FeatureSpace{shape.height, shape.width, kernels.gaussian_sxy, nullptr, 1.0f}, threads);
        bilateral_.emplace(
            FeatureSpace{shape.height, shape.width, kernels.bilateral_sxy, rgb, kernels.bilateral_srgb}, threads);
        for (int64_t lane = 0; lane < labels_.lanes; lane += block) {
            const int lanes = static_cast<int>(std::min<int64_t>(block, labels_.lanes - lane));
            blocks_.push_back({lane, gaussian_->values(lanes), bilateral_->values(lanes)});
        }
    }

    void infer(int iterations, int threads, float* marginals) {
        run_together(useful_threads(pixels_, threads, least), [&](const Member& member) {
            for (int iteration = 0; iteration <= iterations; ++iteration) {
                member.share(bands_.count(), [&](int64_t begin, int64_t end) {
                    for (int64_t band = begin; band < end; ++band)
                        pass(band, iteration == 0, iteration == iterations, marginals);
                });
                if (iteration == iterations) return;
                for (Block& values : blocks_) {
                    gaussian_->filter(member, values.gaussian);
                    bilateral_->filter(member, values.bilateral);
                }
            }
        });
    }

  private:
    static constexpr float padding = std::numeric_limits<float>::lowest();  // a lane must not exceed the true ones

    struct Block {  // of lanes
        int64_t lane;
        Lattice::Values gaussian, bilateral;
    };

    // One iteration for the pixels of a band. The first has nothing to take yet, the last writes its result.
    void pass(int64_t band, bool first, bool last, float* marginals) {
        if (!last)
            for (Block& values : blocks_) {
                gaussian_->clear(band, values.gaussian);
                bilateral_->clear(band, values.bilateral);
            }
        const int64_t lanes = labels_.lanes;
        std::vector<float> logits(piece * lanes);
        for (int64_t pixel = bands_.pixel(band); pixel < bands_.pixel(band + 1); pixel += piece) {
            const int64_t count = std::min(piece, bands_.pixel(band + 1) - pixel);
            float* const energy = energy_.data() + pixel * lanes;
            if (first) {
                read_energies(pixel, count, energy);
                std::copy_n(energy, count * lanes, logits.data());
            } else {
                for (const Block& values : blocks_) {
                    const float* const in = energy + values.lane;
                    float* const out = logits.data() + values.lane;
                    gaussian_->slice(band, pixel, count, kernels_.gaussian_compat, values.gaussian, in, out, lanes);
                    bilateral_->slice(band, pixel, count, kernels_.bilateral_compat, values.bilateral, out, out, lanes);
                }
            }
            softmax_of_all(logits.data(), count);
            if (last) {
                write(pixel, count, logits.data(), marginals);
            } else {
                for (Block& values : blocks_) {
                    gaussian_->splat(band, pixel, count, logits.data() + values.lane, lanes, values.gaussian);
                    bilateral_->splat(band, pixel, count, logits.data() + values.lane, lanes, values.bilateral);
                }
            }
        }
    }

    void read_energies(int64_t pixel, int64_t count, float* to) const {
        const int64_t distinct = static_cast<int64_t>(labels_.first.size());
        for (int64_t lane = 0; lane < labels_.lanes; ++lane)
            for (int64_t p = 0; p < count; ++p)
                to[p * labels_.lanes + lane] = lane < distinct ? -unary_[labels_.first[lane] * pixels_ + pixel + p] : padding;
    }

    void write(int64_t pixel, int64_t count, const float* probabilities, float* marginals) const {
        for (size_t label = 0; label < labels_.lane_of_label.size(); ++label) {
            const float* from = probabilities + labels_.lane_of_label[label];
            float* plane = marginals + static_cast<int64_t>(label) * pixels_ + pixel;
            for (int64_t p = 0; p < count; ++p) plane[p] = from[p * labels_.lanes];
        }
    }

    void softmax_of_all(float* logits, int64_t count) const {
        const float* multiplicity = labels_.multiplicity.data();
        switch (labels_.lanes) {
            case 2: return softmax<2>(logits, count, multiplicity);
            case 4: return softmax<4>(logits, count, multiplicity);
            case 8: return softmax<8>(logits, count, multiplicity);
            case 16: return softmax<16>(logits, count, multiplicity);
            case 24: return softmax<24>(logits, count, multiplicity);
            default: return softmax_of_many(logits, count, labels_.lanes, multiplicity);
        }
    }

    int64_t pixels_;
    CrfKernels kernels_;
    Bands bands_;
    const float* unary_;
    DistinctLabels labels_;
    std::optional<Lattice> gaussian_, bilateral_;  // none where nothing is filtered
    Buffer<float> energy_;  // [pixels][lanes]: -U
    std::vector<Block> blocks_;
};

}  // namespace

void dense_crf(const uint8_t* rgb, const float* unary, const CrfShape& shape, const CrfKernels& kernels, int iterations,
               int threads, float* marginals) {
    MeanField(rgb, unary, shape, kernels, iterations, threads).infer(iterations, threads, marginals);
}

}  // namespace icd
