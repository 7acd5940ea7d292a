//! How pages look: one sheet for light and dark, phones and screens. Colours have a contrast of at least
//! 4.5 to 1 with what is behind them (WCAG 2.2, 1.4.3); none says anything that words do not.

/// The whole sheet.
pub const SHEET: &str = r#"
:root{color-scheme:light dark;--ground:#fff;--raised:#f4f5f7;--line:#c4c9d1;--text:#1b1f24;--soft:#57606a;
--link:#0b5cad;--good:#11652b;--good-back:#dff3e4;--doubt:#7a4b00;--doubt-back:#fdf0d5;--bad:#a4161a;--bad-back:#fde3e3;
--bar:#2f6fb0;--bar-soft:#9aa4b0}
@media (prefers-color-scheme:dark){:root{--ground:#12151a;--raised:#1c2128;--line:#3d4650;--text:#e6e9ed;--soft:#a3adb8;
--link:#7ab8ff;--good:#7ee29a;--good-back:#12331c;--doubt:#f2c274;--doubt-back:#3a2a0b;--bad:#ff9d9d;--bad-back:#451a1c;
--bar:#5aa2e8;--bar-soft:#6b7683}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--text);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
header,main,footer{max-width:72rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.25rem}
main{padding-bottom:2rem}
footer{padding:1rem;color:var(--soft);font-size:.875rem;border-top:1px solid var(--line)}
h1{font-size:1.5rem;line-height:1.25;margin:.25rem 0 .5rem}
h2{font-size:1.2rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:1.25rem 0 .25rem}
p{margin:.25rem 0 .75rem}
a{color:var(--link)}
a:focus-visible,.scroll:focus-visible{outline:3px solid var(--link);outline-offset:2px}
code,.mono{font-family:ui-monospace,monospace;font-size:.9em}
.soft{color:var(--soft)}
.skip{position:absolute;left:-9999px}
.skip:focus{left:1rem;top:.5rem;background:var(--ground);padding:.5rem}
.badge{display:inline-block;padding:.05rem .5rem;border-radius:.35rem;font-weight:700;font-size:.875rem;white-space:nowrap;border:1px solid}
.good{color:var(--good)}.doubt{color:var(--doubt)}.bad{color:var(--bad)}
.badge.good{background:var(--good-back)}.badge.doubt{background:var(--doubt-back)}.badge.bad{background:var(--bad-back)}
.card{background:var(--raised);border:1px solid var(--line);border-radius:.5rem;padding:.75rem 1rem;margin:.75rem 0}
.card>h3:first-child{margin-top:0}
dl{display:grid;grid-template-columns:8rem 1fr;gap:.25rem 1rem;margin:.5rem 0}
dt{font-weight:600}
dd{margin:0}
dd p{margin:0}
.scroll{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;width:100%;font-size:.9375rem}
caption{text-align:left;color:var(--soft);padding-bottom:.25rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--line);overflow-wrap:normal}
td.wide{overflow-wrap:anywhere;min-width:14rem}
th.number,td.number{text-align:right;font-variant-numeric:tabular-nums}
th.number,td.number,.whole{white-space:nowrap}
td.bar{min-width:8rem;width:45%}
td.bar svg{display:block;width:100%;height:1rem}
figure{margin:.5rem 0}
figcaption{color:var(--soft);font-size:.875rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,18rem),1fr));gap:1rem}
.chart{display:block;width:100%;height:auto}
.chart .line{fill:none;stroke:var(--bar);stroke-width:2;vector-effect:non-scaling-stroke}
.chart .dot{fill:var(--bar)}
.chart .limit{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:5 4;vector-effect:non-scaling-stroke}
.chart .base{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
.spark{display:inline-block;width:7.5rem;height:1.5rem;vertical-align:middle}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;padding-bottom:.5rem}
nav a[aria-current]{font-weight:700;text-decoration:none;color:var(--text)}
nav a,td a,th a{display:inline-block;padding:.15rem 0}
input,button{font:inherit;color:inherit;background:var(--ground);border:1px solid var(--soft);border-radius:.35rem;padding:.25rem .6rem;max-width:100%}
button{cursor:pointer;font-weight:600}
input:focus-visible,button:focus-visible{outline:3px solid var(--link);outline-offset:2px}
progress{width:100%;min-width:6rem;height:1rem;accent-color:var(--bar)}
.run{color:var(--link);background:var(--ground)}
.beats{width:6rem;height:1rem;vertical-align:middle}
.window{height:auto;min-height:6rem;max-height:24rem}
.fill-good{fill:var(--good)}.fill-bad{fill:var(--bad)}.fill-doubt{fill:var(--doubt)}.fill-bar{fill:var(--bar)}
.counts{fill:var(--bar)}.aside{fill:var(--bar-soft)}.aborted{fill:var(--bad)}
ul{padding-left:1.25rem;margin:.25rem 0}
@media (max-width:48rem){.cards,.cards tbody,.cards tr,.cards th,.cards td{display:block;width:100%}
.cards thead{position:absolute;left:-9999px}
.cards tr{border:1px solid var(--line);border-radius:.5rem;padding:.5rem .75rem;margin:.75rem 0;background:var(--raised)}
.cards th,.cards td{border:0;padding:.15rem 0;overflow-wrap:anywhere}
.cards td::before{content:attr(data-label) ": ";color:var(--soft)}}
@media (max-width:40rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}h1{font-size:1.25rem}}
@media print{.scroll{overflow:visible}body{font-size:12px}}
"#;
