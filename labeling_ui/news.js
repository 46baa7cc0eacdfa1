// What the server says now, for the sheet to draw (sheet.js).
export default function ({ data }) {
  const news = (window.prefloopNews ??= {});
  [news.data] = data;
  news.draw?.(news.data);
}
