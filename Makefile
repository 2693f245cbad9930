.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PYTEST_FLAGS ?= -n 2

.PHONY: help setup run test check bench soak lock pictures translations

help:  ## 列出所有命令 (list all targets)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## 准备 .venv (install what is needed into .venv)
	@$(PYTHON) tools/bootstrap.py

run: setup  ## 在本机启动全部服务，Ctrl-C 停止 (everything on this machine)
	@exec $(BIN)/quanma run

test: setup check  ## 检查并运行全部测试 (checks and all tests)
	@CHROMIUM="$$($(BIN)/python tools/browser.py)" && export CHROMIUM && $(BIN)/pytest $(PYTEST_FLAGS)

check: setup  ## 代码规范、类型、分层、表结构、翻译 (lint, types, floors, schema, catalogues)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/check_schema.py
	@$(BIN)/python tools/translations.py --check

bench: setup  ## 性能测量，结果抄进 benchmarks/RESULTS.md (measure)
	@$(BIN)/python -m benchmarks

soak: setup  ## 大规模故障测试，约十分钟 (the large fault runs)
	@QUANMA_SOAK=1 $(BIN)/pytest -n 0 -s tests/faults -k "twenty_thousand"

lock: setup  ## 按 pyproject.toml 重新锁定依赖 (lock the dependencies anew)
	@$(BIN)/python tools/lock.py

pictures: setup  ## 重拍手册里的图 (take the handbooks' pictures anew)
	@$(BIN)/python -m tools.pictures

translations: setup  ## 从代码提取文字并编译目录 (extract and compile the catalogues)
	@$(BIN)/python tools/translations.py
