// Mean-field inference in a fully connected conditional random field. See dense_crf.cpp.
#pragma once

#include <cstdint>

namespace icd {

struct CrfShape {
    int64_t labels, height, width;
};

struct CrfKernels {
    float gaussian_sxy, gaussian_compat;                      // smoothness
    float bilateral_sxy, bilateral_srgb, bilateral_compat;  // appearance
};

// `rgb` (height, width, 3), `unary` (labels, height, width) finite energies; writes `marginals` (labels, height, width).
// Standard deviations > 0. Throws std::invalid_argument if they are too small.
void dense_crf(const uint8_t* rgb, const float* unary, const CrfShape& shape, const CrfKernels& kernels, int iterations,
               int threads, float* marginals);

}  // namespace icd
