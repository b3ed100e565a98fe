#!/usr/bin/env bash
# Builds the book into target/site/docs, with the files that its pages link to beside it, and checks
# that every link of every page leads to a file, and to a heading where it names one.
set -euo pipefail
cd "$(dirname "$0")/.."

site=target/site
rm -rf "$site"
warnings=$(mdbook build docs 2>&1 | grep -E '^ *(WARN|ERROR)' || true)
[ -z "$warnings" ] || { echo "$warnings" >&2; exit 1; }
cp -r src examples benches load-tests tests CONTRIBUTING.md "$site"
# mdBook turns a link to Markdown into one to HTML; CONTRIBUTING.md is outside of the book, and a
# README.md becomes index.html.
find "$site/docs" -name '*.html' -exec \
    sed -i -E -e 's/(href="(\.\.\/)+CONTRIBUTING)\.html/\1.md/g' \
    -e 's/(href="[^":]*)README\.html/\1index.html/g' {} +

dead=0
while IFS= read -r -d '' page; do
    links=$(grep -oE '(href|src)="[^"#?]+' "$page" | cut -d'"' -f2 | sort -u)
    for link in $links; do
        case $link in *:*) continue ;; esac
        if [ ! -e "$(dirname "$page")/$link" ]; then
            echo "$page: broken link: $link" >&2
            dead=1
        fi
    done
    anchors=$(grep -oE 'href="[^":?]*#[^"]+' "$page" | cut -d'"' -f2 | sort -u || true)
    for link in $anchors; do
        target=${link%%#*}
        target=${target:+$(dirname "$page")/$target}
        target=${target:-$page}
        case $target in *.html) ;; *) continue ;; esac
        if ! grep -qF "id=\"${link#*#}\"" "$target"; then
            echo "$page: no heading for $link" >&2
            dead=1
        fi
    done
done < <(find "$site/docs" -name '*.html' ! -path '*/sample/*' ! -name 404.html -print0)
[ $dead -eq 0 ] && echo "the book is built: $site/docs/index.html"
