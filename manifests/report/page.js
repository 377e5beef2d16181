(() => {
  "use strict";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const config = () => {
    const ink = dark.matches ? "#d7dcd9" : "#27302c";
    const line = dark.matches ? "#48524d" : "#cfd6d2";
    const axis = {labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line,
      labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500};
    return {background: "transparent", axis, view: {stroke: null},
      legend: {labelColor: ink, titleColor: ink, labelFontSize: 12}, font: "system-ui, sans-serif"};
  };
  const draw = () => {
    for (const place of document.querySelectorAll("[data-chart]")) {
      const spec = JSON.parse(document.getElementById(place.dataset.chart).textContent);
      const options = {ast: true, actions: false, renderer: "svg", tooltip: false, config: config()};
      vegaEmbed(place, spec, options).then(
        () => { place.dataset.drawn = "yes"; },
        (error) => { place.textContent = "This chart could not be drawn; its numbers are below."; console.error(error); });
    }
  };
  dark.addEventListener("change", draw);
  draw();
})();
