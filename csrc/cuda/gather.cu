#include "cuda/gather.h"

#include "cuda/dispatch.h"

namespace embed_ops {

void Cuda::gather(const Gather& problem) {
  const int64_t vec_bytes = Alignment(problem.dtype)
                                .tables(problem.tables)
                                .address(problem.output)
                                .elements(problem.output_stride)
                                .bytes();
  if (is_copy(problem.lookups)) {
    copy_rows(*this, problem, vec_bytes);
  } else {
    pool_rows(*this, problem, vec_bytes);
  }
}

} // namespace embed_ops
