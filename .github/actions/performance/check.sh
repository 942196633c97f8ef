#!/usr/bin/env bash
# Compare the checkout in the current folder with $BASE and write $REPORT, Markdown.
# Exit code of the check: 0 not slower, 1 slower or a fact worse, 2 cannot be done.
#
#     BASE=main REPORT=performance.md .github/actions/performance/check.sh
set -uo pipefail
: "${BASE:?a revision to compare with}" "${REPORT:?a file to write}"
read -ra options <<< "${OPTIONS:-}"
while IFS= read -r pattern; do
    options+=(--accept "$pattern")
done < <(sed -n 's/^accept: *//p' <<< "${DESCRIPTION:-}" | tr -d '\r')
rm -f "$REPORT"
"${PYTHON_OF_CHECK:-.venv/bin/python}" -m benchmarks check --base "$BASE" --markdown "$REPORT" "${options[@]}"
code=$?
if [ -s "$REPORT" ]; then
    if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then cat "$REPORT" >> "$GITHUB_STEP_SUMMARY"; fi
    if [ -n "${GITHUB_OUTPUT:-}" ]; then echo "report=$REPORT" >> "$GITHUB_OUTPUT"; fi
fi
exit "$code"
