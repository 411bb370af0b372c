#include "triax/kernel_cases/reference.h"
#include "triax/kernels/embedding.h"

namespace triax::harness {
namespace {

struct Form {
  DType dtype;
  int64_t n, h, rows, padding = 0;
  int64_t vocab_start = 0, vocab = 0;  // ids are drawn from [0, vocab), the table's rows by default
  Dropout dropout{};
  std::string name() const {
    return fmt::format("{} n={} h={} rows={} padding={} start={} vocab={} p={}", name_of(dtype), n,
                       h, rows, padding, vocab_start, vocab, dropout.probability);
  }
  int64_t id_limit() const { return vocab > 0 ? vocab : rows; }
};

// The table's row of token i, or -1 when another rank has it.
int64_t row_of(const Form& f, const Vector& ids, int64_t i) {
  const auto row = static_cast<int64_t>(ids[reference::index(i)]) - f.vocab_start;
  return row >= 0 && row < f.rows ? row : -1;
}

std::unique_ptr<Problem> forward(const Form& f) {
  auto p = std::make_unique<Problem>(41, f.padding);
  const Tensor ids = p->integers("ids", f.n, 0, f.id_limit());
  const Tensor table = p->input("table", {f.rows, f.h}, f.dtype);
  const Tensor out = p->output("out", {f.n, f.h}, f.dtype);
  p->run = [=](const Context& context) {
    embedding_forward(context, ids, table, f.vocab_start, out);
  };
  p->reference = [f](Values& v) {
    for (int64_t i = 0; i < f.n * f.h; ++i) {
      const int64_t row = row_of(f, v["ids"], i / f.h);
      v["out"][reference::index(i)] =
          row < 0 ? 0 : v["table"][reference::index(row * f.h + i % f.h)];
    }
  };
  p->tolerance = 0;
  p->traffic = 3.0 * static_cast<double>(out.bytes());
  return p;
}

std::unique_ptr<Problem> backward(const Form& f) {
  auto p = std::make_unique<Problem>(42, f.padding);
  const Tensor ids = p->integers("ids", f.n, 0, f.id_limit());
  const Tensor dout = p->input("dout", {f.n, f.h}, f.dtype);
  const Tensor dtable = p->in_out("dtable", {f.rows, f.h}, DType::f32);
  p->run = [=](const Context& context) {
    embedding_backward(context, dout, ids, f.vocab_start, dtable);
  };
  p->reference = [f](Values& v) {
    for (int64_t i = 0; i < f.n * f.h; ++i) {
      const int64_t row = row_of(f, v["ids"], i / f.h);
      if (row >= 0)
        v["dtable"][reference::index(row * f.h + i % f.h)] += v["dout"][reference::index(i)];
    }
  };
  p->traffic =
      static_cast<double>(dout.bytes()) + 8.0 * static_cast<double>(f.h * std::min(f.n, f.rows));
  return p;
}

// Rows go in descending order through [0, vocab), of which the table has a part.
std::unique_ptr<Problem> scatter(const Form& f, bool accumulate) {
  auto p = std::make_unique<Problem>(45, f.padding);
  const Tensor rows = p->integers("rows", f.n, 0, 1);
  edit(rows, [&](const Tensor& on_host) {
    for (int64_t i = 0; i < f.n; ++i) on_host.data<int32_t>()[i] = static_cast<int32_t>(f.id_limit() - 1 - i * f.id_limit() / f.n);
  });
  const Tensor values = p->input("values", {f.n, f.h}, f.dtype);
  const Tensor table = p->in_out("table", {f.rows, f.h}, f.dtype);
  p->run = [=](const Context& context) { scatter_rows(context, values, rows, f.vocab_start, accumulate, table); };
  p->reference = [=](Values& v) {
    for (int64_t i = 0; i < f.n * f.h; ++i) {
      const int64_t row = row_of(f, v["rows"], i / f.h);
      if (row < 0) continue;
      double& element = v["table"][reference::index(row * f.h + i % f.h)];
      element = (accumulate ? element : 0) + v["values"][reference::index(i)];
    }
  };
  p->traffic = (accumulate ? 3.0 : 2.0) * static_cast<double>(values.bytes());
  return p;
}

std::unique_ptr<Problem> position_forward(const Form& f) {
  auto p = std::make_unique<Problem>(43, f.padding);
  const Tensor positions = p->integers("positions", f.n, 0, f.rows);
  const Tensor table = p->input("table", {f.rows, f.h}, f.dtype);
  const Tensor x = p->in_out("x", {f.n, f.h}, f.dtype);
  p->run = [=](const Context& context) {
    position_dropout_forward(context, positions, table, f.dropout, x);
  };
  p->reference = [f](Values& v) {
    for (int64_t i = 0; i < f.n * f.h; ++i) {
      const auto row = static_cast<int64_t>(v["positions"][reference::index(i / f.h)]);
      double& value = v["x"][reference::index(i)];
      value = (value + v["table"][reference::index(row * f.h + i % f.h)]) *
              reference::dropout_factor(f.dropout, i / f.h, i % f.h, f.h);
    }
  };
  return p;
}

std::unique_ptr<Problem> position_backward(const Form& f) {
  auto p = std::make_unique<Problem>(44, f.padding);
  const Tensor positions = p->integers("positions", f.n, 0, f.rows);
  const Tensor dx = p->in_out("dx", {f.n, f.h}, f.dtype);
  const Tensor dtable = p->in_out("dtable", {f.rows, f.h}, DType::f32);
  p->run = [=](const Context& context) {
    position_dropout_backward(context, positions, f.dropout, dx, dtable);
  };
  p->reference = [f](Values& v) {
    for (int64_t i = 0; i < f.n * f.h; ++i) {
      const auto row = static_cast<int64_t>(v["positions"][reference::index(i / f.h)]);
      double& value = v["dx"][reference::index(i)];
      value *= reference::dropout_factor(f.dropout, i / f.h, i % f.h, f.h);
      if (f.dtype == DType::bf16) value = static_cast<float>(bf16(static_cast<float>(value)));
      if (f.dtype == DType::f16) value = static_cast<float>(f16(static_cast<float>(value)));
      v["dtable"][reference::index(row * f.h + i % f.h)] += value;
    }
  };
  return p;
}

struct EmbeddingOperation {
  const char* name;
  std::unique_ptr<Problem> (*build)(const Form&);
};

}  // namespace

void add_embedding_cases(Table& table) {
  const auto add = [&](Purpose purpose, const EmbeddingOperation& operation, const Form& form) {
    table.push_back({operation.name, form.name(), purpose,
                     [form, build = operation.build] { return build(form); }});
  };
  const Dropout dropout{.probability = 0.1f, .seed = 6, .site = 1, .step = 2, .row_offset = 64};
  for (const DType dtype : kComputeTypes) {
    for (const EmbeddingOperation& operation :
         {EmbeddingOperation{"embedding_forward", forward}, {"embedding_backward", backward}}) {
      add(Purpose::test, operation, {dtype, 1, 1, 1});
      add(Purpose::test, operation, {dtype, 0, 8, 3});
      add(Purpose::test, operation, {dtype, 300, 65, 20, 3});
      add(Purpose::test, operation, {dtype, 500, 200, 100, 0, 50, 200});
      add(Purpose::test, operation, {dtype, 1000, 17, 2});
      add(Purpose::benchmark, operation, {dtype, 4096, 384, 8192});
      add(Purpose::benchmark, operation, {dtype, 2048, 768, 50304});
      if (dtype == DType::bf16) add(Purpose::gpu_benchmark, operation, {dtype, 16384, 768, 50304});
    }
    for (const bool accumulate : {false, true}) {
      const auto add_scatter = [&](Purpose purpose, const Form& form) {
        table.push_back({"scatter_rows", form.name() + (accumulate ? " accumulate" : ""), purpose,
                         [=] { return scatter(form, accumulate); }});
      };
      for (const Form& form : {Form{dtype, 1, 1, 1}, {dtype, 0, 8, 3}, {dtype, 30, 65, 40, 3}, {dtype, 100, 72, 90, 0, 20, 150}})
        add_scatter(Purpose::test, form);
      add_scatter(Purpose::benchmark, {dtype, 2048, 768, 4096});
      if (dtype == DType::bf16) add_scatter(Purpose::gpu_benchmark, {dtype, 8192, 768, 16384});
    }
    for (const EmbeddingOperation& operation :
         {EmbeddingOperation{"position_dropout_forward", position_forward},
          {"position_dropout_backward", position_backward}}) {
      for (const Dropout& d : {Dropout{}, dropout}) {
        add(Purpose::test, operation, {dtype, 1, 1, 1, 0, 0, 0, d});
        add(Purpose::test, operation, {dtype, 0, 8, 3, 0, 0, 0, d});
        add(Purpose::test, operation, {dtype, 300, 65, 20, 3, 0, 0, d});
        add(Purpose::test, operation, {dtype, 150, 384, 64, 0, 0, 0, d});
      }
      add(Purpose::benchmark, operation, {dtype, 4096, 384, 256, 0, 0, 0, dropout});
      add(Purpose::benchmark, operation, {dtype, 2048, 768, 1024, 0, 0, 0, dropout});
      if (dtype == DType::bf16) add(Purpose::gpu_benchmark, operation, {dtype, 16384, 768, 1024, 0, 0, 0, dropout});
    }
  }
}

}  // namespace triax::harness
